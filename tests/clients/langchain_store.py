"""LangChain's Qdrant store over a server, and over qdrant-client's local mode, which is the model: both answer alike.

usage: langchain_store.py URL FOLDER
"""

import sys
import uuid

from both import same
from embedding import DIM, embed
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_qdrant import QdrantVectorStore
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
METADATA = [{"n": n, "source": f"book {n % 3}", "pages": {"first": 10 * n}} for n in range(len(TEXTS))]
# As uuid4().hex has them: without hyphens. They are shown with them.
IDS = [uuid.UUID(int=(n + 1) << 90).hex for n in range(len(TEXTS))]
SHOWN = [str(uuid.UUID(id)) for id in IDS]


class Words(Embeddings):
    def embed_documents(self, texts):
        return [embed(text) for text in texts]

    def embed_query(self, text):
        return embed(text)


def metadata_is(key, value):
    return models.Filter(must=[models.FieldCondition(key=f"metadata.{key}", match=models.MatchValue(value=value))])


def scenario(options):
    """What one does with a store, step by step; yields every answer."""
    store = QdrantVectorStore.from_texts(TEXTS, Words(), METADATA, IDS, collection_name="stones", **options)
    found = store.similarity_search("grey granite", k=3)
    assert [document.page_content for document in found[:1]] == [TEXTS[0]], found
    yield found
    yield store.similarity_search("grey granite", k=2, offset=1)
    scored = store.similarity_search_with_score(TEXTS[3], k=7)
    assert len(scored) == 7 and abs(scored[0][1] - 1) < 1e-4 and scored[0][0].metadata["_id"] == SHOWN[3], scored
    yield scored
    yield store.similarity_search_with_score("slate", k=7, score_threshold=0.1)
    filtered = store.similarity_search("old grey stone", k=7, filter=metadata_is("source", "book 1"))
    assert {document.metadata["n"] for document in filtered} == {1, 4}, filtered
    yield filtered
    below = models.Filter(must_not=[models.FieldCondition(key="metadata.pages.first", range=models.Range(gt=25))])
    yield store.similarity_search_with_score("old grey stone", k=7, filter=below)
    yield store.similarity_search_by_vector(embed("winter sea"), k=2)
    yield store.similarity_search_with_score_by_vector(embed("winter sea"), k=2, filter=metadata_is("n", 5))
    yield store.similarity_search_with_relevance_scores("black basalt", k=3)
    yield store.as_retriever(search_kwargs={"k": 2}).invoke("thin slate")

    more = [Document("sand is young", metadata={"n": 100}), Document("gravel is round", metadata={"n": 101})]
    assert store.add_documents(more, ids=[7, 8]) == [7, 8]
    # The same id again: the text is replaced.
    assert store.add_texts(["gravel is cheap"], [{"n": 102}], ids=[8]) == [8]
    assert len(store.add_texts(["clay", "loam", "silt"], batch_size=2)) == 3
    yield store.similarity_search_with_score("young sand", k=2)
    yield store.similarity_search("cheap gravel", k=1)
    yield sorted(store.get_by_ids([7, 8, SHOWN[2], 99]), key=lambda document: document.page_content)
    assert store.delete([7, IDS[0]])
    assert store.get_by_ids([7, SHOWN[0]]) == []
    yield store.similarity_search("grey granite", k=3)
    yield store.client.count("stones").count


def existing(options):
    """What only a store that outlives its client can do; collections of other kinds."""
    again = QdrantVectorStore.from_existing_collection("stones", Words(), **options)
    assert again.similarity_search("thin slate", k=1)[0].page_content == TEXTS[3]
    named = dict(options, collection_name="named stones", vector_name="words", distance=models.Distance.EUCLID)
    store = QdrantVectorStore.from_texts(TEXTS, Words(), METADATA, IDS, **named)
    (document, distance), *_ = store.similarity_search_with_score(TEXTS[4], k=3)
    assert document.page_content == TEXTS[4] and abs(distance) < 1e-3, (document, distance)
    again = QdrantVectorStore.from_texts(["chalk"], Words(), force_recreate=True, **named)
    assert [document.page_content for document in again.similarity_search("chalk", k=5)] == ["chalk"]
    client = QdrantClient(**options)
    assert client.get_collection("named stones").config.params.vectors["words"].size == DIM
    for name in ("stones", "named stones"):
        assert client.delete_collection(name)


def main():
    options = {"url": sys.argv[1], "timeout": 60}
    compared = same(scenario(options), scenario({"location": ":memory:"}))
    existing(options)
    print(f"langchain-qdrant: passed, {compared} answers are those of the local mode")


main()
