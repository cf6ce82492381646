"""Everything that qdrant-client writes, by random operations: after each, the server has what the client's own local mode has.

usage: writes.py URL FOLDER      the api key is "granite"
"""

import datetime
import random
import sys
import uuid
import warnings

import numpy as np
from both import Both
from qdrant_client import QdrantClient, models

DIM = 12
CITIES = ["Bern", "Lhasa", "Lima", "Oslo", "Quito"]
WORDS = ["granite", "basalt", "marble", "slate", "old", "grey"]
# Numbers, and UUIDs as they are shown.
IDS = [*range(30), *(str(uuid.UUID(int=n * 2**100 + 5)) for n in range(1, 11))]

COLLECTIONS = {
    "plain": models.VectorParams(size=DIM, distance=models.Distance.COSINE),
    "named": {"stone": models.VectorParams(size=DIM, distance=models.Distance.EUCLID)},
    "manhattan": models.VectorParams(size=DIM, distance=models.Distance.MANHATTAN),
}


class Dice:
    """Everything that chance decides, from a seed."""

    def __init__(self, collection, seed):
        self.collection, self.chance = collection, random.Random(seed)
        self.named = isinstance(COLLECTIONS[collection], dict)

    def ids(self, most=4):
        return self.chance.sample(IDS, self.chance.randint(1, most))

    def vector(self):
        return [round(self.chance.gauss(0, 1), 3) for _ in range(DIM)]

    def payload(self):
        chance = self.chance
        all = {
            "city": chance.choice(CITIES),
            "n": chance.randrange(8),
            "price": round(chance.uniform(0, 100), 2),
            "open": chance.random() < 0.5,
            "tags": chance.sample(WORDS, chance.randrange(4)),
            "text": " ".join(chance.sample(WORDS, 3)),
            "at": f"2024-{chance.randint(1, 12):02}-{chance.randint(1, 28):02}T12:00:00Z",
            "spot": {"lon": round(chance.uniform(0, 20), 3), "lat": round(chance.uniform(40, 50), 3)},
            "rooms": [{"colour": chance.choice(["red", "blue"]), "floor": chance.randrange(3)} for _ in range(chance.randrange(3))],
            "note": chance.choice([None, "kept", [], ["a", None]]),
        }
        return {key: all[key] for key in all if chance.random() < 0.8}

    def one(self, id):
        vector = self.vector()
        return models.PointStruct(id=id, vector={"stone": vector} if self.named else vector, payload=self.payload())

    def points(self):
        return [self.one(id) for id in self.ids(6)]

    def columns(self):
        ids = self.ids()
        vectors = [self.vector() for _ in ids]
        vectors = {"stone": vectors} if self.named else vectors
        return models.Batch(ids=ids, vectors=vectors, payloads=[self.payload() for _ in ids])

    def condition(self):
        field, chance = models.FieldCondition, self.chance
        return chance.choice(
            [
                lambda: field(key="city", match=models.MatchValue(value=chance.choice(CITIES))),
                lambda: field(key="n", match=models.MatchValue(value=chance.randrange(8))),
                lambda: field(key="open", match=models.MatchValue(value=chance.random() < 0.5)),
                lambda: field(key="city", match=models.MatchAny(any=chance.sample(CITIES, 2))),
                lambda: field(key="tags", match=models.MatchAny(any=chance.sample(WORDS, 2))),
                lambda: field(key="city", match=models.MatchExcept(**{"except": chance.sample(CITIES, 2)})),
                lambda: field(key="price", range=models.Range(gte=20.0, lt=chance.uniform(20, 100))),
                lambda: field(key="at", range=models.DatetimeRange(gt=datetime.datetime(2024, chance.randint(1, 12), 3))),
                lambda: field(key="tags", values_count=models.ValuesCount(gte=chance.randint(1, 3))),
                lambda: field(key="rooms[].colour", match=models.MatchValue(value="red")),
                lambda: field(key="spot", geo_bounding_box=models.GeoBoundingBox(top_left=place(2, 49), bottom_right=place(15, 42))),
                lambda: field(key="spot", geo_radius=models.GeoRadius(center=place(10, 45), radius=chance.uniform(1e5, 6e5))),
                lambda: field(key="spot", geo_polygon=models.GeoPolygon(exterior=TRIANGLE)),
                lambda: models.IsEmptyCondition(is_empty=models.PayloadField(key="note")),
                lambda: models.IsNullCondition(is_null=models.PayloadField(key="note")),
                lambda: models.HasIdCondition(has_id=self.ids(10)),
                lambda: models.HasVectorCondition(has_vector="stone" if self.named else ""),
                lambda: models.SliceCondition(slice=models.Slice(total=3, index=chance.randrange(3))),
                lambda: models.NestedCondition(nested=models.Nested(key="rooms", filter=RED_ABOVE)),
                lambda: field(key="city", match=models.MatchPrefix(prefix=chance.choice(["L", "Li", "O"]))),
                lambda: field(key="text", match=models.MatchText(text=chance.choice(WORDS))),
                lambda: field(key="text", match=models.MatchPhrase(phrase=chance.choice(WORDS))),
                lambda: field(key="city", match=models.MatchTextAny(text_any=" ".join(chance.sample(CITIES, 2)))),
            ]
        )()

    def selector(self):
        """Which payload to show."""
        paths = ["city", "n.deep", "rooms[].floor", "rooms[0]", "tags[]", "spot.lat", "spot[]", "more.x", "note[][]", "text.x"]
        some = self.chance.sample(paths, 3)
        kinds = [True, False, some, models.PayloadSelectorInclude(include=some), models.PayloadSelectorExclude(exclude=some)]
        return self.chance.choice(kinds)

    def filter(self):
        kind = self.chance.randrange(5)
        if kind < 2:
            return models.Filter(must=[self.condition()])
        if kind == 2:
            return models.Filter(must=self.condition(), must_not=[self.condition()])
        if kind == 3:
            return models.Filter(should=[self.condition(), models.Filter(must_not=[self.condition(), self.condition()])])
        return models.Filter(min_should=models.MinShould(conditions=[self.condition() for _ in range(3)], min_count=2))


def place(lon, lat):
    return models.GeoPoint(lon=lon, lat=lat)


TRIANGLE = models.GeoLineString(points=[place(0, 41), place(19, 42), place(9, 50), place(0, 41)])
RED_ABOVE = models.Filter(
    must=[
        models.FieldCondition(key="colour", match=models.MatchValue(value="red")),
        models.FieldCondition(key="floor", range=models.Range(gte=1)),
    ]
)


def present(both, dice):
    """Some ids that are there: where one is not, Qdrant carries out the rest and Cairn nothing, so it is not asked for here."""
    there = [record.id for record in both.model.scroll(dice.collection, limit=1000)[0]]
    return dice.chance.sample(there, min(len(there), dice.chance.randint(1, 4)))


def selection(both, dice):
    """Ids or a filter, in the forms that the client takes."""
    ids = present(both, dice)
    if not ids or dice.chance.random() < 0.3:
        filter = dice.filter()
        return dice.chance.choice([filter, models.FilterSelector(filter=filter)])
    return dice.chance.choice([ids, models.PointIdsList(points=ids)])


def vectors_of(both, dice):
    new = dice.vector
    return [models.PointVectors(id=id, vector={"stone": new()} if dice.named else new()) for id in present(both, dice)]


def upsert(both, name, dice):
    both.upsert(name, points=dice.points())


def upsert_columns(both, name, dice):
    both.upsert(name, points=dice.columns())


def upsert_by_mode(both, name, dice):
    both.upsert(name, points=dice.points(), update_mode=dice.chance.choice(list(models.UpdateMode)))


def upsert_by_filter(both, name, dice):
    both.upsert(name, points=dice.points(), update_filter=dice.filter())


def upload_points(both, name, dice):
    both.upload_points(name, points=dice.points(), batch_size=2, wait=True, update_mode=models.UpdateMode.UPSERT)


def upload_collection(both, name, dice):
    ids = dice.ids(8)
    vectors = np.array([dice.vector() for _ in ids], dtype=np.float32)
    payload = [dice.payload() for _ in ids]
    vectors = {"stone": vectors} if dice.named else vectors
    both.upload_collection(name, vectors=vectors, payload=payload, ids=ids, batch_size=3, wait=True)


def update_vectors(both, name, dice):
    if points := vectors_of(both, dice):
        both.update_vectors(name, points=points, update_filter=dice.chance.choice([None, dice.filter()]))


def set_payload(both, name, dice):
    both.set_payload(name, payload=dice.payload(), points=selection(both, dice))


def set_payload_below(both, name, dice):
    key = dice.chance.choice(["more", "more.deep", "rooms[0]", "rooms[]", "note[]", "text[0]", "n.deep", "spot[].lat"])
    both.set_payload(name, payload={"floor": 2, "x": [1]}, key=key, points=selection(both, dice))


def overwrite_payload(both, name, dice):
    both.overwrite_payload(name, payload=dice.payload(), points=selection(both, dice))


def delete_payload(both, name, dice):
    paths = ["n", "spot.lat", "rooms[].colour", "rooms[0].floor", "more.deep", "more", "tags[]", "note[0]", "text[]", "nothing"]
    keys = dice.chance.sample(paths, 2)
    both.delete_payload(name, keys=keys, points=selection(both, dice))


def clear_payload(both, name, dice):
    both.clear_payload(name, points_selector=selection(both, dice))


def delete(both, name, dice):
    both.delete(name, points_selector=selection(both, dice))


def delete_absent(both, name, dice):
    both.delete(name, points_selector=[*dice.ids(2), 10**6])


def batch(both, name, dice):
    """One of each kind, each on what those before it made."""
    points = [dice.one(id) for id in IDS[3:6]]
    first, second, third = IDS[3:6]
    vector = dice.vector()
    operations = [
        models.UpsertOperation(upsert=models.PointsList(points=points)),
        models.UpsertOperation(upsert=models.PointsBatch(batch=dice.columns())),
        models.SetPayloadOperation(set_payload=models.SetPayload(payload={"city": "Oslo", "n": 5}, points=[first, second])),
        models.SetPayloadOperation(set_payload=models.SetPayload(payload={"x": 1}, key="more", filter=dice.filter())),
        models.OverwritePayloadOperation(overwrite_payload=models.SetPayload(payload={"n": 7}, points=[third])),
        models.DeletePayloadOperation(delete_payload=models.DeletePayload(keys=["n"], points=[first])),
        models.ClearPayloadOperation(clear_payload=models.FilterSelector(filter=dice.filter())),
        models.UpdateVectorsOperation(
            update_vectors=models.UpdateVectors(
                points=[models.PointVectors(id=first, vector={"stone": vector} if dice.named else vector)]
            )
        ),
        models.DeleteOperation(delete=models.PointIdsList(points=[second])),
        models.DeleteOperation(delete=models.FilterSelector(filter=dice.filter())),
    ]
    both.batch_update_points(name, update_operations=operations)


OPERATIONS = [
    upsert,
    upsert_columns,
    upsert_by_mode,
    upsert_by_filter,
    upload_points,
    upload_collection,
    update_vectors,
    set_payload,
    set_payload_below,
    overwrite_payload,
    delete_payload,
    clear_payload,
    delete,
    delete_absent,
    batch,
]


def compare(both, name, dice):
    """Everything that reads, of both."""
    using = "stone" if dice.named else None
    exact, filter = models.SearchParams(exact=True), dice.filter()
    whole, _ = both.scroll(name, limit=1000, with_payload=True, with_vectors=True)
    both.count(name, exact=True)
    both.count(name, count_filter=filter, exact=True)
    offset = None
    for page in range(10):
        _, offset = both.scroll(name, scroll_filter=filter, limit=5, offset=offset, with_payload=dice.selector())
        if offset is None:
            break
    both.scroll(name, limit=3, offset=IDS[7], with_payload=dice.selector())
    asked = dice.ids(8)
    by_id = {record.id: record for record in both.server.retrieve(name, ids=asked, with_vectors=True)}
    kept = {record.id: record for record in both.model.retrieve(name, ids=asked, with_vectors=True)}
    assert by_id.keys() == kept.keys() == set(asked) & {record.id for record in whole}
    query = dice.vector()
    for params in (exact, None):
        both.query_points(name, query=query, using=using, limit=7, offset=1, with_vectors=True, search_params=params)
        both.query_points(name, query=query, using=using, query_filter=filter, with_payload=dice.selector(), search_params=params)
    bar = 0.2 if name == "plain" else 4.0 if name == "named" else 12.0
    both.query_points(name, query=query, using=using, score_threshold=bar, search_params=exact)
    if whole:
        both.query_points(name, query=whole[0].id, using=using, limit=4, search_params=exact)
    requests = [models.QueryRequest(query=dice.vector(), using=using, limit=2, filter=filter, params=exact) for _ in range(2)]
    both.query_batch_points(name, requests=requests)
    ordered(both, name, dice.chance.choice(["price", "n", "at", "spot.lat"]), filter)
    for key in ("city", "n", "open", "tags"):
        both.facet(name, key=key, facet_filter=dice.chance.choice([None, filter]), limit=3, exact=True)
    points = [client.get_collection(name).points_count for client in (both.server, both.model)]
    assert points == [len(whole)] * 2, points


def ordered(both, name, key, filter):
    """Points in the order of a field. Which of those with the same value come first is not said, so only values are compared."""
    for direction in models.Direction:
        order = models.OrderBy(key=key, direction=direction)
        pages = [client.scroll(name, scroll_filter=filter, order_by=order, limit=12)[0] for client in (both.server, both.model)]
        values, expected = ([record.order_value for record in page] for page in pages)
        assert values == expected, (name, key, values, expected)


def any_sequence(both):
    for seed, name in enumerate(COLLECTIONS):
        both.create_collection(name, vectors_config=COLLECTIONS[name], shard_number=1 + seed % 3)
        dice = Dice(name, seed)
        for step in range(3 * len(OPERATIONS)):
            # Each kind in turn after a random one, so that every kind is carried out on many states.
            operation = OPERATIONS[step % len(OPERATIONS)] if step % 2 else dice.chance.choice(OPERATIONS)
            operation(both, name, dice)
            if step % 3 == 0:
                compare(both, name, dice)
        compare(both, name, dice)


def main():
    url = sys.argv[1]
    warnings.filterwarnings("ignore", message="Api key is used with an insecure connection")
    warnings.filterwarnings("ignore", message="Local mode performs exact")
    warnings.filterwarnings("ignore", message="Payload indexes have no effect in the local Qdrant")
    warnings.simplefilter("error", append=True)
    any_sequence(Both(QdrantClient(url=url, api_key="granite", timeout=60)))
    print("qdrant-client: what was written is what the local mode has")


main()
