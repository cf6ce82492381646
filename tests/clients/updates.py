"""What qdrant-client changes beside points, what it is refused, and where chance would not lead: one part for each subject.

usage: updates.py URL FOLDER      the api key is "granite"
"""

import asyncio
import sys
import time
import uuid
import warnings

from both import Both
from qdrant_client import AsyncQdrantClient, QdrantClient, models
from refusal import expect_error

FLAT = models.VectorParams(size=2, distance=models.Distance.DOT)


def point(id, *vector, **payload):
    return models.PointStruct(id=id, vector=list(vector), payload=payload)


def aliases(client):
    both = Both(client)
    for name, first in (("blue", 1), ("green", 2)):
        both.create_collection(name, vectors_config=FLAT)
        both.upsert(name, points=[point(first, 1, 0)])
    create = lambda alias, to: models.CreateAliasOperation(create_alias=models.CreateAlias(collection_name=to, alias_name=alias))
    remove = lambda alias: models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name=alias))
    rename = lambda old, new: models.RenameAliasOperation(
        rename_alias=models.RenameAlias(old_alias_name=old, new_alias_name=new)
    )

    def check(*serving):
        listed = lambda answer: sorted((entry.alias_name, entry.collection_name) for entry in answer.aliases)
        assert listed(client.get_aliases()) == sorted(serving)
        for name in ("blue", "green"):
            of_one = sorted(pair for pair in serving if pair[1] == name)
            assert listed(client.get_collection_aliases(name)) == of_one
        for alias, name in serving:
            assert [record.id for record in client.scroll(alias)[0]] == [record.id for record in client.scroll(name)[0]]

    both.update_collection_aliases([create("live", "blue"), create("next", "green")])
    check(("live", "blue"), ("next", "green"))
    # Through an alias one reads, searches and writes.
    both.upsert("live", points=[point(7, 0, 1)])
    both.query_points("live", query=[0.0, 1.0])
    both.retrieve("live", ids=[7])
    both.count("blue")
    # One step: whoever reads sees all of it or nothing.
    both.update_collection_aliases([remove("next"), create("live", "green"), create("old", "blue")])
    check(("live", "green"), ("old", "blue"))
    both.update_collection_aliases([rename("live", "served")])
    check(("served", "green"), ("old", "blue"))
    expect_error(404, "gone", lambda: client.update_collection_aliases([create("a", "gone")]))
    expect_error(404, "never", lambda: client.update_collection_aliases([rename("never", "b")]))
    both.delete_collection("blue")
    assert [entry.alias_name for entry in client.get_aliases().aliases] == ["served"]
    expect_error(404, "old", lambda: client.count("old"))
    both.delete_collection("green")


def indexes(client):
    both = Both(client)
    both.create_collection("fields", vectors_config=FLAT)
    both.upsert("fields", points=[point(1, 1, 0, city="Bern", text="Old granite", n=3), point(2, 0, 1, city="Oslo", n=4)])
    for kind in models.PayloadSchemaType:
        assert client.create_payload_index("fields", f"a.{kind.value}", kind).status == models.UpdateStatus.COMPLETED
    params = [
        ("city", models.KeywordIndexParams(type="keyword", is_tenant=True, on_disk=True)),
        ("n", models.IntegerIndexParams(type="integer", lookup=True, range=True, is_principal=True)),
        ("text", models.TextIndexParams(type="text", tokenizer="word", min_token_len=2, max_token_len=20, lowercase=True)),
    ]
    for field, schema in params:
        client.create_payload_index("fields", field, field_schema=schema, wait=True)
    schema = client.get_collection("fields").payload_schema
    assert set(schema) == {*(f"a.{kind.value}" for kind in models.PayloadSchemaType), "city", "n", "text"}, schema
    for kind in models.PayloadSchemaType:
        assert schema[f"a.{kind.value}"].data_type == kind
    for field, expected in params:
        assert schema[field].params == expected, (field, schema[field])
    both.count("fields", count_filter=models.Filter(must=models.FieldCondition(key="text", match=models.MatchText(text="granite"))))
    for field in schema:
        assert client.delete_payload_index("fields", field).status == models.UpdateStatus.COMPLETED
    assert client.get_collection("fields").payload_schema == {}
    both.count("fields", count_filter=models.Filter(must=models.FieldCondition(key="city", match=models.MatchValue(value="Oslo"))))
    expect_error(404, "never", lambda: client.create_payload_index("never", "a", "keyword"))
    both.delete_collection("fields")


def collections(client):
    assert client.create_collection("tuned", vectors_config={"stone": FLAT}, metadata={"owner": "quarry"}, shard_number=2)
    config = client.get_collection("tuned").config
    assert (config.metadata, config.params.shard_number) == ({"owner": "quarry"}, 2), config
    hnsw = models.HnswConfigDiff(m=24, ef_construct=50)
    assert client.update_collection(
        "tuned",
        vectors_config={"stone": models.VectorParamsDiff(hnsw_config=hnsw)},
        optimizers_config=models.OptimizersConfigDiff(indexing_threshold=1000),
        collection_params=models.CollectionParamsDiff(replication_factor=1),
        quantization_config=models.ScalarQuantization(scalar=models.ScalarQuantizationConfig(type="int8")),
        metadata={"seen": True},
    )
    config = client.get_collection("tuned").config
    assert config.metadata == {"owner": "quarry", "seen": True}, config
    assert config.params.vectors["stone"].hnsw_config == hnsw, config
    assert (config.hnsw_config.m, config.hnsw_config.ef_construct) == (16, 100), config
    assert (config.optimizer_config.indexing_threshold, config.optimizer_config.flush_interval_sec) == (1000, 5), config
    assert config.quantization_config.scalar.type == "int8", config
    expect_error(400, "gravel", lambda: client.update_collection("tuned", vectors_config={"gravel": models.VectorParamsDiff()}))
    expect_error(404, "never", lambda: client.update_collection("never", metadata={}))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        assert client.recreate_collection("tuned", vectors_config=FLAT)
    assert client.get_collection("tuned").config.params.vectors == FLAT
    assert client.delete_collection("tuned") and not client.collection_exists("tuned")
    assert client.delete_collection("tuned") is False


def ids_and_thresholds(client):
    both = Both(client)
    both.create_collection("numbers", vectors_config=FLAT)
    most = 2**64 - 1
    known = uuid.UUID("9b1deb4d-3b7d-4bad-9bdd-2b0d7b3dcb6d")
    both.upsert("numbers", points=[point(0, 1, 0), point(most, 2, 0), point(str(known), 3, 0), point(known.hex[::-1], 4, 0)])
    both.upsert("numbers", points=[point(known.hex.upper(), 5, 0)])
    both.scroll("numbers", limit=2, offset=1, with_vectors=True)
    both.retrieve("numbers", ids=[known.hex], with_vectors=True)
    both.retrieve("numbers", ids=[f"urn:uuid:{known}"])
    both.retrieve("numbers", ids=[most])
    for text in ("granite", f"{known}0", ""):
        expect_error(400, "is not a valid point ID", lambda: client.upsert("numbers", points=[point(text, 1, 0)]))
    # What scores as much as the threshold does not pass.
    for bar in (1.0, 2.0, 4.5):
        both.query_points("numbers", query=[1.0, 0.0], score_threshold=bar)
    both.delete_collection("numbers")


def later(client):
    """Writes that nobody waits for are seen soon."""
    client.create_collection("slow", vectors_config=FLAT)
    client.upload_points("slow", points=(point(id, id, 1, n=id) for id in range(200)), batch_size=50)
    client.upload_collection("slow", vectors=([id, 2] for id in range(200, 300)), ids=range(200, 300), batch_size=64)
    # Without ids, each point gets a UUID.
    client.upload_collection("slow", vectors=[[1, 2], [3, 4]], payload=[{"n": 1}, {"n": 2}], wait=True)
    assert client.set_payload("slow", {"n": -1}, points=[0], wait=False).status == models.UpdateStatus.ACKNOWLEDGED
    deadline = time.monotonic() + 30
    while client.count("slow").count != 302 or client.retrieve("slow", [0])[0].payload != {"n": -1}:
        assert time.monotonic() < deadline, client.count("slow")
        time.sleep(0.02)
    client.delete_collection("slow")


def migration(client):
    """The client copies a collection here and away again."""
    local, copy = QdrantClient(":memory:"), QdrantClient(":memory:")
    local.create_collection("moved", vectors_config=FLAT)
    local.upload_points("moved", points=[point(id, id, 1, n=id) for id in range(150)])
    local.migrate(client, ["moved"], batch_size=40)
    client.migrate(copy, ["moved"], batch_size=70)
    pages = [source.scroll("moved", limit=200, with_vectors=True) for source in (local, client, copy)]
    assert pages[0] == pages[1] == pages[2] and len(pages[0][0]) == 150
    client.delete_collection("moved")


def at_once(client):
    """Many requests of one asynchronous client, and two processes that upload."""
    client.create_collection("crowd", vectors_config=FLAT, shard_number=2)

    async def crowd():
        many = AsyncQdrantClient(url=sys.argv[1], api_key="granite", timeout=60)
        await asyncio.gather(*(many.upsert("crowd", points=[point(id, id, 1, n=id)]) for id in range(40)))
        assert (await many.count("crowd")).count == 40
        await asyncio.gather(*(many.set_payload("crowd", {f"k{n}": n}, points=[7]) for n in range(20)))
        await many.close()

    asyncio.run(crowd())
    assert client.retrieve("crowd", [7])[0].payload == {"n": 7, **{f"k{n}": n for n in range(20)}}
    client.upload_points("crowd", points=[point(id, id, 2) for id in range(200)], batch_size=25, parallel=2, wait=True)
    assert client.count("crowd").count == 200
    client.delete_collection("crowd")


def errors(client):
    both = Both(client)
    both.create_collection("c", vectors_config={"stone": FLAT})
    stone = lambda id, *vector: models.PointStruct(id=id, vector={"stone": list(vector)})
    both.upsert("c", points=[stone(1, 1, 2)])
    expect_error(404, "`never` doesn't exist", lambda: client.upsert("never", points=[stone(1, 1, 2)]))
    expect_error(400, "Vector dimension error: expected dim: 2, got 3", lambda: client.upsert("c", points=[stone(1, 1, 2, 3)]))
    expect_error(400, "Not existing vector name error: gravel", lambda: client.upsert("c", points=[models.PointStruct(id=1, vector={"gravel": [1, 2]})]))
    # Nothing of a request that is refused is done.
    expect_error(400, "expected dim", lambda: client.upsert("c", points=[stone(5, 1, 2), stone(6, 1)]))
    assert client.count("c").count == 1
    expect_error(404, "No point with id 9 found", lambda: client.set_payload("c", {"a": 1}, points=[1, 9]))
    expect_error(404, "No point with id 9 found", lambda: client.clear_payload("c", [9]))
    moved = [models.PointVectors(id=9, vector={"stone": [1.0, 2.0]})]
    expect_error(404, "No point with id 9 found", lambda: client.update_vectors("c", points=moved))
    expect_error(400, "Empty update request", lambda: client.delete("c", points_selector=[]))
    both.delete_collection("c")


PARTS = [aliases, indexes, collections, ids_and_thresholds, later, migration, at_once, errors]


def main():
    warnings.filterwarnings("ignore", message="Api key is used with an insecure connection")
    warnings.filterwarnings("ignore", message="Payload indexes have no effect in the local Qdrant")
    warnings.simplefilter("error", append=True)
    client = QdrantClient(url=sys.argv[1], api_key="granite", timeout=60)
    for part in PARTS:
        part(client)
        print(f"qdrant-client: {part.__name__} passed")


# Workers of a parallel upload read this file too.
if __name__ == "__main__":
    main()
