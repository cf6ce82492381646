"""LlamaIndex's Qdrant store over a server, and over qdrant-client's local mode, which is the model: both answer alike.

usage: llama_index_store.py URL FOLDER
"""

import sys
import uuid
import warnings

from both import same
from embedding import embed
from llama_index.core.schema import NodeRelationship, RelatedNodeInfo, TextNode
from llama_index.core.vector_stores import (
    FilterCondition,
    FilterOperator,
    MetadataFilter,
    MetadataFilters,
    VectorStoreQuery,
)
from llama_index.vector_stores.qdrant import QdrantVectorStore
from qdrant_client import QdrantClient, models

TEXTS = [
    "granite is old and grey",
    "marble is white and soft",
    "basalt is black and young",
    "slate is grey and thin",
    "old towns are built of granite",
    "roofs are made of slate",
    "the sea is grey in winter",
]


def node(n):
    """The nth node: two of each document."""
    return TextNode(
        id_=str(uuid.UUID(int=(n + 1) << 90)),
        text=TEXTS[n],
        embedding=embed(TEXTS[n]),
        metadata={"n": n, "price": n / 2, "city": ["Bern", "Oslo", "Lima"][n % 3], "tags": ["odd" if n % 2 else "even", "all"]},
        relationships={NodeRelationship.SOURCE: RelatedNodeInfo(node_id=f"book {n // 2}")},
    )


NODES = [node(n) for n in range(len(TEXTS))]


def one(key, value, operator=FilterOperator.EQ):
    return MetadataFilter(key=key, value=value, operator=operator)


def every(*filters):
    return MetadataFilters(filters=list(filters), condition=FilterCondition.AND)


# With the nodes that pass.
FILTERS = [
    (every(one("city", "Oslo")), {1, 4}),
    (every(one("price", 1.5)), {3}),
    (every(one("n", 4, FilterOperator.GT), one("n", 6, FilterOperator.LTE)), {5, 6}),
    (every(one("n", 1, FilterOperator.GTE), one("n", 3, FilterOperator.LT)), {1, 2}),
    (every(one("city", "Oslo", FilterOperator.NE)), {0, 2, 3, 5, 6}),
    (every(one("city", ["Oslo", "Lima"], FilterOperator.IN)), {1, 2, 4, 5}),
    (every(one("city", ["Oslo", "Lima"], FilterOperator.NIN)), {0, 3, 6}),
    (every(one("tags", ["odd"], FilterOperator.IN)), {1, 3, 5}),
    (every(one("city", "Lima", FilterOperator.TEXT_MATCH)), {2, 5}),
    (every(one("nothing", None, FilterOperator.IS_EMPTY)), set(range(7))),
    (MetadataFilters(filters=[one("n", 0), one("city", "Lima")], condition=FilterCondition.OR), {0, 2, 5}),
    (MetadataFilters(filters=[one("city", "Bern")], condition=FilterCondition.NOT), {1, 2, 4, 5}),
    (every(MetadataFilters(filters=[one("n", 0), one("n", 1)], condition=FilterCondition.OR), one("city", "Oslo")), {1}),
]


def ask(store, text, k=3, **more):
    return store.query(VectorStoreQuery(query_embedding=embed(text), similarity_top_k=k, **more))


def shown(nodes):
    """Nodes in the order of their numbers, with their vectors."""
    return [(node.node_id, node.text, node.metadata, node.embedding) for node in sorted(nodes, key=lambda node: node.node_id)]


def scenario(client):
    """What one does with a store, step by step; yields every answer."""
    indexes = [{"field_name": "city", "field_schema": models.PayloadSchemaType.KEYWORD}]
    store = QdrantVectorStore(collection_name="nodes", client=client, batch_size=3, payload_indexes=indexes)
    assert store.add(NODES) == [node.node_id for node in NODES]
    found = ask(store, "grey granite")
    assert found.ids[0] == NODES[0].node_id, found
    yield [found.ids, found.similarities, shown(found.nodes)]
    for filters, expected in FILTERS:
        passed = ask(store, "old grey stone", k=9, filters=filters)
        assert {node.metadata["n"] for node in passed.nodes} == expected, (filters, passed)
        assert {node.metadata["n"] for node in store.get_nodes(filters=filters)} == expected, filters
        yield [passed.ids, passed.similarities]
    some = [NODES[1].node_id, NODES[4].node_id]
    yield ask(store, "old grey stone", k=9, node_ids=some).ids
    yield ask(store, "old grey stone", k=9, doc_ids=["book 0", "book 3"]).ids
    assert {node.metadata["n"] for node in store.get_nodes(node_ids=some)} == {1, 4}
    yield shown(store.get_nodes(node_ids=some))
    yield shown(store.get_nodes())
    yield len(store.get_nodes(limit=4))

    # The same id again: the node is replaced.
    changed = node(3)
    changed.set_content("slate is cheap")
    changed.embedding = embed("slate is cheap")
    store.add([changed])
    assert ask(store, "cheap slate", k=1).nodes[0].text == "slate is cheap"
    store.delete("book 0")
    assert {node.metadata["n"] for node in store.get_nodes()} == {2, 3, 4, 5, 6}
    yield shown(store.get_nodes())
    store.delete_nodes(node_ids=[NODES[2].node_id, NODES[0].node_id])
    yield shown(store.get_nodes())
    store.delete_nodes(filters=every(one("city", "Lima")))
    assert {node.metadata["n"] for node in store.get_nodes()} == {3, 4, 6}
    yield shown(store.get_nodes())
    again = QdrantVectorStore(collection_name="nodes", client=client)
    yield ask(again, "grey granite").ids
    store.clear()
    assert not client.collection_exists("nodes")
    # A store that was cleared is filled again.
    store.add(NODES[:2])
    yield shown(store.get_nodes())
    store.clear()


def main():
    warnings.filterwarnings("ignore", message="Payload indexes have no effect in the local Qdrant")
    compared = same(scenario(QdrantClient(url=sys.argv[1], timeout=60)), scenario(QdrantClient(":memory:")))
    print(f"llama-index-vector-stores-qdrant: passed, {compared} answers are those of the local mode")


main()
