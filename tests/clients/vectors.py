"""What qdrant-client does with several vectors a point, of all kinds, by random operations: the server has what the client's own local mode has.

usage: vectors.py URL FOLDER      the api key is "granite"
"""

import random
import sys
import warnings

from both import Both, Refusal
from qdrant_client import QdrantClient, models

DIM = 6
IDS = range(25)
MULTI = models.MultiVectorConfig(comparator=models.MultiVectorComparator.MAX_SIM)
DENSE = {
    "unit": models.VectorParams(size=DIM, distance=models.Distance.COSINE),
    "plain": models.VectorParams(size=3, distance=models.Distance.EUCLID),
    "dot": models.VectorParams(size=2, distance=models.Distance.DOT, hnsw_config=models.HnswConfigDiff(m=8, ef_construct=50)),
}
ROWS = {
    "rows": models.VectorParams(size=4, distance=models.Distance.DOT, multivector_config=MULTI),
    "units": models.VectorParams(size=2, distance=models.Distance.COSINE, multivector_config=MULTI),
}
SPARSE = {
    "words": models.SparseVectorParams(),
    "tags": models.SparseVectorParams(modifier=models.Modifier.IDF, index=models.SparseIndexParams(on_disk=True)),
}
NAMES = [*DENSE, *ROWS, *SPARSE]


class Dice:
    """Everything that chance decides, from a seed."""

    def __init__(self, seed):
        self.chance = random.Random(seed)

    def floats(self, count):
        return [round(self.chance.gauss(0, 1), 3) for _ in range(count)]

    def vector(self, name):
        if name in SPARSE:
            # In any order: a sparse vector is put in order by whoever keeps it.
            indices = self.chance.sample(range(100), self.chance.randrange(5))
            return models.SparseVector(indices=indices, values=self.floats(len(indices)))
        if name in ROWS:
            return [self.floats(ROWS[name].size) for _ in range(self.chance.randint(1, 3))]
        return self.floats(DENSE[name].size)

    def names(self, least=0):
        return self.chance.sample(NAMES, self.chance.randint(least, len(NAMES)))

    def vectors(self, least=0):
        return {name: self.vector(name) for name in self.names(least)}

    def ids(self, most=5):
        return self.chance.sample(IDS, self.chance.randint(1, most))

    def point(self, id):
        return models.PointStruct(id=id, vector=self.vectors(), payload={"n": self.chance.randrange(4)})

    def filter(self):
        has = models.HasVectorCondition(has_vector=self.chance.choice(NAMES))
        few = models.FieldCondition(key="n", match=models.MatchValue(value=self.chance.randrange(4)))
        kinds = [{"must": [has]}, {"must_not": [has]}, {"must": [few], "must_not": [has]}, {"should": [has, few]}]
        return models.Filter(**self.chance.choice(kinds))


def present(both, dice):
    """Some ids that are there."""
    there = [record.id for record in both.model.scroll("many", limit=1000)[0]]
    return dice.chance.sample(there, min(len(there), dice.chance.randint(1, 4)))


def selection(both, dice):
    """Ids or a filter."""
    return (dice.chance.random() < 0.6 and present(both, dice)) or dice.filter()


def upsert(both, dice):
    both.upsert("many", points=[dice.point(id) for id in dice.ids()])


def upsert_columns(both, dice):
    ids, names = dice.ids(), dice.names()
    both.upsert("many", points=models.Batch(ids=ids, vectors={name: [dice.vector(name) for _ in ids] for name in names}))


def upload_points(both, dice):
    both.upload_points("many", points=[dice.point(id) for id in dice.ids()], batch_size=2, wait=True)


def update_vectors(both, dice):
    points = [models.PointVectors(id=id, vector=dice.vectors(1)) for id in present(both, dice)]
    if points:
        both.update_vectors("many", points=points, update_filter=dice.chance.choice([None, None, dice.filter()]))


def delete_vectors(both, dice):
    both.delete_vectors("many", vectors=dice.names(1), points=selection(both, dice))


def set_payload(both, dice):
    both.set_payload("many", payload={"n": dice.chance.randrange(4)}, points=selection(both, dice))


def delete(both, dice):
    both.delete("many", points_selector=dice.ids(2))


def batch(both, dice):
    first, second, third = dice.chance.sample(IDS, 3)
    operations = [
        models.UpsertOperation(upsert=models.PointsList(points=[dice.point(first), dice.point(second)])),
        models.UpdateVectorsOperation(
            update_vectors=models.UpdateVectors(points=[models.PointVectors(id=second, vector=dice.vectors(1))])
        ),
        models.DeleteVectorsOperation(delete_vectors=models.DeleteVectors(vector=dice.names(1), points=[first])),
        models.DeleteVectorsOperation(delete_vectors=models.DeleteVectors(vector=dice.names(1), filter=dice.filter())),
        models.DeleteOperation(delete=models.PointIdsList(points=[third])),
    ]
    both.batch_update_points("many", update_operations=operations)


OPERATIONS = [upsert, upsert_columns, upload_points, update_vectors, delete_vectors, set_payload, delete, batch]


def compare(both, dice):
    """Everything that reads, of both."""
    whole, _ = both.scroll("many", limit=1000, with_vectors=True)
    both.scroll("many", limit=1000, with_vectors=dice.names())
    asked = dice.ids(8)
    shown = {record.id: record.vector for record in both.server.retrieve("many", ids=asked, with_vectors=True)}
    assert shown == {record.id: record.vector for record in whole if record.id in asked}
    for name in NAMES:
        has = models.Filter(must=[models.HasVectorCondition(has_vector=name)])
        both.count("many", count_filter=has, exact=True)
        both.scroll("many", scroll_filter=has, limit=1000, with_vectors=[name])
    exact, filter = models.SearchParams(exact=True), dice.filter()
    both.scroll("many", scroll_filter=filter, limit=1000)
    requests = []
    for name, bar in {"unit": 0.2, "plain": 1.5, "dot": 0.5}.items():
        query = dice.vector(name)
        for params in (exact, None):
            both.query_points("many", query=query, using=name, limit=5, with_vectors=True, search_params=params)
            both.query_points("many", query=query, using=name, query_filter=filter, search_params=params)
        both.query_points("many", query=query, using=name, score_threshold=bar, search_params=exact)
        requests.append(models.QueryRequest(query=query, using=name, limit=3, filter=filter, params=exact))
        for record in dice.chance.sample(whole, min(len(whole), 2)):
            answer = both.query_points("many", query=record.id, using=name, limit=4, search_params=exact)
            assert isinstance(answer, Refusal) == (name not in record.vector), (name, record, answer)
    both.query_batch_points("many", requests=requests)


def shown_as_declared(client):
    params = client.get_collection("many").config.params
    expected = {**DENSE, **ROWS}
    # The first vector's graph is the collection's; those that are built otherwise say so in full.
    shown = {name: vector.model_copy(update={"hnsw_config": None}) for name, vector in params.vectors.items()}
    assert shown == {name: vector.model_copy(update={"hnsw_config": None}) for name, vector in expected.items()}, params
    assert params.sparse_vectors == SPARSE, params
    hnsw = client.get_collection("many").config.hnsw_config
    graphs = {name: vector.hnsw_config or hnsw for name, vector in params.vectors.items()}
    assert {name: (graph.m, graph.ef_construct) for name, graph in graphs.items()} == {
        name: (8, 50) if name == "dot" else (16, 100) for name in expected
    }, params
    changed = models.SparseVectorParams(modifier=models.Modifier.IDF)
    assert client.update_collection("many", sparse_vectors_config={"words": changed})
    assert client.get_collection("many").config.params.sparse_vectors["words"] == changed
    assert client.update_collection("many", vectors_config={"rows": models.VectorParamsDiff(hnsw_config=models.HnswConfigDiff(m=8))})
    assert client.get_collection("many").config.params.vectors["rows"].hnsw_config.m == 8


def any_sequence(both):
    both.create_collection("many", vectors_config={**DENSE, **ROWS}, sparse_vectors_config=SPARSE, shard_number=2)
    shown_as_declared(both.server)
    dice = Dice(7)
    for step in range(6 * len(OPERATIONS)):
        # Each kind in turn after a random one, so that every kind is carried out on many states.
        operation = OPERATIONS[step // 2 % len(OPERATIONS)] if step % 2 else dice.chance.choice(OPERATIONS)
        operation(both, dice)
        if step % 3 == 0:
            compare(both, dice)
    compare(both, dice)


def refusals(both):
    """Both refuse the same, and nothing of it is done."""
    point = lambda **vector: [models.PointStruct(id=3, vector=vector)]
    word = models.SparseVector(indices=[1], values=[0.5])
    for vector in (
        {"unit": [1.0, 2.0]},
        {"rows": [[1.0, 2.0]]},
        {"rows": []},
        {"rows": [[]]},
        {"unit": word},
        {"rows": word},
        {"words": [1.0, 2.0]},
        {"other": [1.0, 2.0]},
        {"words": models.SparseVector(indices=[1, 1], values=[0.5, 0.5])},
        {"unit": [0.1] * DIM, "words": [1.0]},
    ):
        assert isinstance(both.upsert("many", points=point(**vector)), Refusal), vector
        change = [models.PointVectors(id=3, vector=vector)]
        assert isinstance(both.update_vectors("many", points=change), Refusal), vector
    assert isinstance(both.delete_vectors("many", vectors=["unit", "other"], points=[3]), Refusal)
    assert isinstance(both.query_points("many", query=[1.0, 2.0, 3.0]), Refusal)
    assert isinstance(both.query_points("many", query=[1.0, 2.0, 3.0], using="other"), Refusal)
    assert isinstance(both.query_points("many", query=[1.0, 2.0], using="plain"), Refusal)
    both.scroll("many", limit=1000, with_vectors=True)


def without_dense_vectors(both):
    both.create_collection("words", vectors_config={}, sparse_vectors_config={"words": models.SparseVectorParams()})
    both.upsert("words", points=[
        models.PointStruct(id=1, vector={"words": models.SparseVector(indices=[7, 2], values=[1.0, 2.0])}, payload={"n": 1}),
        models.PointStruct(id=2, vector={}),
    ])
    both.scroll("words", with_vectors=True)
    both.delete_vectors("words", vectors=["words"], points=[1])
    both.scroll("words", with_vectors=True)
    both.count("words")
    both.delete_collection("words")


def vectors_come_and_go(both):
    """A vector that is added late, removed, and added again with another size."""
    dense = lambda size: models.DenseVectorNameConfig(dense=models.DenseVectorConfig(size=size, distance=models.Distance.DOT))
    show = lambda: both.scroll("many", limit=1000, with_vectors=True)
    for size in (3, 5):
        assert not isinstance(both.create_vector_name("many", "late", dense(size)), Refusal)
        show()
        both.update_vectors("many", points=[models.PointVectors(id=id, vector={"late": [1.0 * id] * size}) for id in (1, 2)])
        show()
        both.query_points("many", query=[1.0] * size, using="late", with_vectors=True)
        both.count("many", count_filter=models.Filter(must=[models.HasVectorCondition(has_vector="late")]))
        assert isinstance(both.create_vector_name("many", "late", dense(size + 1)), Refusal)
        assert not isinstance(both.delete_vector_name("many", "late"), Refusal)
        show()
        assert not isinstance(both.delete_vector_name("many", "late"), Refusal)
        assert isinstance(both.query_points("many", query=[1.0] * size, using="late"), Refusal)
    sparse = models.SparseVectorNameConfig(sparse=models.SparseVectorConfig(modifier=models.Modifier.IDF))
    both.create_vector_name("many", "terms", sparse)
    both.update_vectors("many", points=[models.PointVectors(id=1, vector={"terms": models.SparseVector(indices=[3], values=[0.5])})])
    show()


def main():
    warnings.filterwarnings("ignore", message="Api key is used with an insecure connection")
    warnings.filterwarnings("ignore", message="Local mode performs exact")
    warnings.simplefilter("error", append=True)
    both = Both(QdrantClient(url=sys.argv[1], api_key="granite", timeout=60))
    any_sequence(both)
    refusals(both)
    vectors_come_and_go(both)
    without_dense_vectors(both)
    print("qdrant-client: points of many vectors are as its local mode has them")


main()
