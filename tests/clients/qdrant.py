"""The official qdrant-client against a running server: every call Cairn answers today, compared with NumPy brute force.

usage: qdrant.py URL FOLDER      FOLDER holds corpus.npy, corpus.ids and corpus.jsonl; the api key is "granite"
"""

import json
import pathlib
import sys
import warnings
from collections import Counter

import numpy as np
from qdrant_client import QdrantClient, models
from qdrant_client.http.exceptions import UnexpectedResponse
from refusal import expect_error

METRICS = {"cosine": "Cosine", "dot": "Dot", "euclid": "Euclid", "manhattan": "Manhattan"}


class Corpus:
    def __init__(self, folder):
        self.vectors = np.load(folder / "corpus.npy")
        lines = (folder / "corpus.ids").read_text().split("\n")
        self.ids = [int(line) if line.isdigit() else line for line in lines]
        self.payloads = [json.loads(line) for line in (folder / "corpus.jsonl").read_text().splitlines()]
        self.row = {id: row for row, id in enumerate(self.ids)}

    def scores(self, metric, query):
        vectors, query = self.vectors.astype(np.float64), np.asarray(query, dtype=np.float64)
        if metric == "cosine":
            return vectors @ query / np.linalg.norm(vectors, axis=1) / np.linalg.norm(query)
        if metric == "dot":
            return vectors @ query
        if metric == "euclid":
            return np.linalg.norm(vectors - query, axis=1)
        return np.abs(vectors - query).sum(axis=1)

    def best(self, metric, query, limit, keep=lambda payload: True):
        """Ids and scores of the best, by exhaustive search."""
        scores = self.scores(metric, query)
        order = np.argsort(scores if metric in ("euclid", "manhattan") else -scores, kind="stable")
        rows = [row for row in order if keep(self.payloads[row])][:limit]
        return [self.ids[row] for row in rows], scores[rows]


def assert_best(hits, expected, context):
    ids, scores = expected
    assert [hit.id for hit in hits] == ids, (context, [hit.id for hit in hits], ids)
    assert np.allclose([hit.score for hit in hits], scores, rtol=1e-4, atol=1e-4), context


def collections(client, corpus):
    names = {entry.name for entry in client.get_collections().collections}
    assert names == {*METRICS, "named"}, names
    assert client.collection_exists("named") and not client.collection_exists("other")

    assert client.create_collection("sized", vectors_config=models.VectorParams(size=4, distance=models.Distance.EUCLID))
    params = client.get_collection("sized").config.params
    assert (params.vectors.size, params.vectors.distance) == (4, models.Distance.EUCLID)
    vectors = {"stone": models.VectorParams(size=3, distance=models.Distance.COSINE)}
    assert client.create_collection("with-name", vectors_config=vectors)
    assert client.get_collection("with-name").config.params.vectors["stone"].size == 3
    # LangChain's way: a vector whose name is empty.
    empty = {"": models.VectorParams(size=5, distance=models.Distance.DOT)}
    assert client.create_collection("empty-name", vectors_config=empty)
    params = client.get_collection("empty-name").config.params.vectors
    size = params[""].size if isinstance(params, dict) else params.size
    assert size == 5, params
    expect_error(409, "sized", lambda: client.create_collection("sized", vectors_config=vectors))
    for name in ("sized", "with-name", "empty-name"):
        info = client.get_collection(name)
        assert (info.points_count, info.status) == (0, models.CollectionStatus.GREEN), info
        assert client.count(name).count == 0
        assert client.delete_collection(name)
        assert not client.collection_exists(name)

    quantizations(client)
    for metric, distance in METRICS.items():
        info = client.get_collection(metric)
        assert info.points_count == len(corpus.ids), info
        assert info.config.params.vectors.distance == distance, info
    expect_error(404, "other", lambda: client.get_collection("other"))


def quantizations(client):
    """Every kind of quantization is accepted, kept and shown as it was sent."""
    kinds = [
        models.ScalarQuantization(scalar=models.ScalarQuantizationConfig(type=models.ScalarType.INT8, quantile=0.99, always_ram=True)),
        models.ProductQuantization(product=models.ProductQuantizationConfig(compression=models.CompressionRatio.X32)),
        models.BinaryQuantization(
            binary=models.BinaryQuantizationConfig(
                encoding=models.BinaryQuantizationEncoding.ONE_AND_HALF_BITS,
                query_encoding=models.BinaryQuantizationQueryEncoding.SCALAR4BITS,
            )
        ),
    ]
    if hasattr(models, "TurboQuantization"):
        turbo = models.TurboQuantQuantizationConfig(bits=models.TurboQuantBitSize.BITS2)
        kinds.append(models.TurboQuantization(turbo=turbo))
    for kind in kinds:
        own = models.VectorParams(size=64, distance=models.Distance.COSINE, quantization_config=kind)
        assert client.create_collection("coded", vectors_config={"stone": own}, quantization_config=kind)
        config = client.get_collection("coded").config
        assert config.quantization_config == kind, config.quantization_config
        assert config.params.vectors["stone"].quantization_config == kind, config.params
        assert client.delete_collection("coded")


def queries(client, corpus):
    exact = models.SearchParams(exact=True)
    rows = range(0, 100, 10)
    for metric in METRICS:
        for row in rows:
            query = corpus.vectors[row] + 0.05
            hits = client.query_points(metric, query=query.tolist(), limit=7, with_payload=False, search_params=exact).points
            assert_best(hits, corpus.best(metric, query, 7), (metric, row))
            assert all(hit.payload is None and hit.vector is None for hit in hits)

    # The default search finds what brute force finds.
    found = 0
    for row in rows:
        query = corpus.vectors[row] + 0.05
        hits = client.query_points("cosine", query=query, search_params=models.SearchParams(hnsw_ef=128)).points
        found += len({hit.id for hit in hits} & set(corpus.best("cosine", query, 10)[0]))
    assert found >= 98, found

    # Whatever is said about codes, the nearest are found; with them alone, scores are as near as 8 bits get.
    for ignore, rescore, oversampling in [(True, None, None), (False, True, 3.0), (False, None, 2.5), (False, False, None)]:
        quantization = models.QuantizationSearchParams(ignore=ignore, rescore=rescore, oversampling=oversampling)
        params = models.SearchParams(hnsw_ef=256, quantization=quantization, indexed_only=True)
        query = corpus.vectors[5] + 0.05
        hits = client.query_points("euclid", query=query, search_params=params).points
        ids, scores = corpus.best("euclid", query, 10)
        assert len({hit.id for hit in hits} & set(ids)) >= 9, (ignore, rescore, oversampling)
        assert np.allclose(sorted(hit.score for hit in hits), scores, rtol=0.05), (ignore, rescore, oversampling)

    query = corpus.vectors[3] + 0.01
    first = client.query_points("cosine", query=query, limit=3, search_params=exact).points
    moved = client.query_points("cosine", query=query, limit=2, offset=1, search_params=exact).points
    assert [hit.id for hit in moved] == [hit.id for hit in first[1:]]

    full = client.query_points("dot", query=query, limit=5, with_payload=True, with_vectors=True, search_params=exact)
    for hit in full.points:
        row = corpus.row[hit.id]
        assert hit.payload == corpus.payloads[row]
        assert np.array_equal(np.float32(hit.vector), corpus.vectors[row])
    some = client.query_points("dot", query=query, with_payload=["city"], limit=5).points
    assert all(hit.payload == {"city": corpus.payloads[corpus.row[hit.id]]["city"]} for hit in some)
    excluded = models.PayloadSelectorExclude(exclude=["city", "tags"])
    for hit in client.query_points("dot", query=query, with_payload=excluded, limit=5).points:
        assert set(hit.payload) == set(corpus.payloads[corpus.row[hit.id]]) - {"city", "tags"}

    ids, scores = corpus.best("cosine", query, 6)
    bar = float(scores[3] + scores[4]) / 2
    hits = client.query_points("cosine", query=query, score_threshold=bar, search_params=exact).points
    assert_best(hits, (ids[:4], scores[:4]), "score_threshold")
    ids, scores = corpus.best("euclid", query, 6)
    bar = float(scores[3] + scores[4]) / 2
    hits = client.query_points("euclid", query=query, score_threshold=bar, search_params=exact).points
    assert_best(hits, (ids[:4], scores[:4]), "score_threshold is an upper bound for distances")

    for id in (corpus.ids[0], corpus.ids[2]):
        row = corpus.row[id]
        hits = client.query_points("cosine", query=id, limit=5, search_params=exact).points
        ids, scores = corpus.best("cosine", corpus.vectors[row], 6)
        assert ids[0] == id
        assert_best(hits, (ids[1:], scores[1:]), "query by id")

    named = client.query_points("named", query=query, using="stone", limit=4, with_vectors=["stone"], search_params=exact)
    assert_best(named.points, corpus.best("cosine", query, 4), "named")
    assert all(len(hit.vector["stone"]) == corpus.vectors.shape[1] for hit in named.points)

    requests = [models.QueryRequest(query=corpus.vectors[row].tolist(), limit=3, params=exact) for row in rows]
    for row, answer in zip(rows, client.query_batch_points("dot", requests=requests)):
        assert_best(answer.points, corpus.best("dot", corpus.vectors[row], 3), ("batch", row))


def filters(client, corpus):
    field, match = models.FieldCondition, models.MatchValue
    month = lambda payload: int(payload["at"][5:7])
    cases = [
        (models.Filter(must=[field(key="city", match=match(value="Lima"))]), lambda p: p["city"] == "Lima"),
        (models.Filter(must=[field(key="row", match=match(value=17))]), lambda p: p["row"] == 17),
        (models.Filter(must=[field(key="open", match=match(value=True))]), lambda p: p["open"]),
        (models.Filter(must=[field(key="city", match=models.MatchAny(any=["Lima", "Oslo"]))]), lambda p: p["city"] in ("Lima", "Oslo")),
        (models.Filter(must=[field(key="city", match=models.MatchExcept(**{"except": ["Lima"]}))]), lambda p: p["city"] != "Lima"),
        (models.Filter(must=[field(key="price", range=models.Range(gte=0.0, lt=50.0))]), lambda p: 0 <= p["price"] < 50),
        (
            models.Filter(must=[field(key="at", range=models.DatetimeRange(gte="2024-03-01T00:00:00Z", lt="2024-06-01T00:00:00Z"))]),
            lambda p: 3 <= month(p) < 6,
        ),
        (models.Filter(must=[field(key="tags", values_count=models.ValuesCount(gte=2))]), lambda p: len(p["tags"]) >= 2),
        (models.Filter(must=[models.IsEmptyCondition(is_empty=models.PayloadField(key="note"))]), lambda p: p.get("note") is None),
        (
            models.Filter(must=[models.IsNullCondition(is_null=models.PayloadField(key="note"))]),
            lambda p: "note" in p and p["note"] is None,
        ),
        (models.Filter(must=[models.HasIdCondition(has_id=[1, 2, 4])]), lambda p: p["row"] + 1 in (1, 2, 4)),
        (models.Filter(must=[field(key="place.floor", match=match(value=3))]), lambda p: p["place"]["floor"] == 3),
        (models.Filter(must=[field(key="place.doors[].colour", match=match(value="red"))]), lambda p: p["row"] % 2 == 0),
        (models.Filter(must_not=[field(key="city", match=match(value="Lima"))]), lambda p: p["city"] != "Lima"),
        (models.Filter(must=[field(key="city", match=models.MatchText(text="im"))]), lambda p: "im" in p["city"]),
        (
            models.Filter(must=[models.NestedCondition(nested=models.Nested(key="place.doors", filter=models.Filter(
                must=[field(key="colour", match=match(value="blue"))],
            )))]),
            lambda p: any(door["colour"] == "blue" for door in p["place"]["doors"]),
        ),
        (
            models.Filter(
                should=[field(key="city", match=match(value="Bern")), field(key="price", range=models.Range(gt=90))],
                must=models.Filter(must_not=[field(key="open", match=match(value=True))]),
            ),
            lambda p: (p["city"] == "Bern" or p["price"] > 90) and not p["open"],
        ),
        (
            models.Filter(
                min_should=models.MinShould(
                    conditions=[field(key="city", match=match(value="Bern")), field(key="open", match=match(value=True))],
                    min_count=2,
                )
            ),
            lambda p: p["city"] == "Bern" and p["open"],
        ),
    ]
    for at, (condition, keep) in enumerate(cases):
        count = sum(map(keep, corpus.payloads))
        assert 0 < count < len(corpus.ids), at
        assert client.count("cosine", count_filter=condition, exact=True).count == count, at
        query = corpus.vectors[at]
        for params in (models.SearchParams(exact=True), None):
            hits = client.query_points("cosine", query=query, query_filter=condition, search_params=params).points
            assert all(keep(corpus.payloads[corpus.row[hit.id]]) for hit in hits), at
            if params:
                assert_best(hits, corpus.best("cosine", query, 10, keep), at)


def reading(client, corpus):
    seen, offset = [], None
    while True:
        records, offset = client.scroll("dot", limit=33, offset=offset, with_payload=True, with_vectors=True)
        for record in records:
            row = corpus.row[record.id]
            assert record.payload == corpus.payloads[row]
            assert np.array_equal(np.float32(record.vector), corpus.vectors[row])
            seen.append(record.id)
        if offset is None:
            break
    numbers = sorted(id for id in corpus.ids if isinstance(id, int))
    assert seen == numbers + sorted(id for id in corpus.ids if isinstance(id, str))
    lima = models.Filter(must=[models.FieldCondition(key="city", match=models.MatchValue(value="Lima"))])
    records, _ = client.scroll("dot", scroll_filter=lima, limit=1000)
    assert {record.id for record in records} == {id for id, p in zip(corpus.ids, corpus.payloads) if p["city"] == "Lima"}

    order = models.OrderBy(key="price", direction=models.Direction.DESC, start_from=40.0)
    records, offset = client.scroll("dot", order_by=order, limit=20)
    expected = sorted((p["price"] for p in corpus.payloads if p["price"] <= 40), reverse=True)[:20]
    assert offset is None and [record.order_value for record in records] == expected
    assert all(record.payload["price"] == record.order_value for record in records)
    expect_error(400, "order_by", lambda: client.scroll("dot", order_by="price", offset=1))

    cities = Counter(p["city"] for p in corpus.payloads if p["open"])
    is_open = models.Filter(must=[models.FieldCondition(key="open", match=models.MatchValue(value=True))])
    hits = client.facet("dot", key="city", facet_filter=is_open, limit=3, exact=True).hits
    expected = sorted(cities.items(), key=lambda pair: (-pair[1], pair[0]))[:3]
    assert [(hit.value, hit.count) for hit in hits] == expected

    asked = [corpus.ids[0], corpus.ids[2], corpus.ids[10], 10**9]
    records = client.retrieve("dot", ids=asked, with_payload=["row"], with_vectors=True)
    assert {record.id for record in records} == set(asked[:3])
    assert all(record.payload == {"row": corpus.row[record.id]} for record in records)
    assert client.count("dot").count == len(corpus.ids)


def errors(client):
    expect_error(400, "expected dim: 24, got 2", lambda: client.query_points("cosine", query=[1.0, 2.0]))
    expect_error(404, "other", lambda: client.query_points("other", query=[1.0, 2.0]))
    expect_error(404, str(10**9), lambda: client.query_points("cosine", query=10**9))
    expect_error(400, "gravel", lambda: client.query_points("named", query=[0.0] * 24, using="gravel"))
    expect_error(422, "limit", lambda: client.query_points("cosine", query=[0.0] * 24, limit=0))
    expect_error(404, "other", lambda: client.count("other"))
    few = models.SearchParams(quantization=models.QuantizationSearchParams.model_construct(oversampling=0.5))
    expect_error(422, "oversampling", lambda: client.query_points("cosine", query=[0.0] * 24, search_params=few))
    wide = models.ScalarQuantizationConfig(type=models.ScalarType.INT8, quantile=1.5)
    wide = models.ScalarQuantization(scalar=wide)
    size = models.VectorParams(size=4, distance=models.Distance.DOT)
    expect_error(422, "quantile", lambda: client.create_collection("wide", vectors_config=size, quantization_config=wide))
    config = models.VectorParams(size=4, distance=models.Distance.DOT)
    expect_error(422, "/", lambda: client.create_collection("a/b", vectors_config=config))


def main():
    url, folder = sys.argv[1], pathlib.Path(sys.argv[2])
    warnings.filterwarnings("ignore", message="Api key is used with an insecure connection")
    # Any other warning is a failure: the client warns when the server's version is not near its own.
    warnings.simplefilter("error", append=True)
    corpus = Corpus(folder)
    for key in (None, "gravel"):
        stranger = QdrantClient(url=url, api_key=key, timeout=60, check_compatibility=False)
        try:
            stranger.get_collections()
        except UnexpectedResponse as error:
            assert error.status_code in (401, 403), error
        else:
            raise AssertionError(f"the api key {key} was accepted")
    client = QdrantClient(url=url, api_key="granite", timeout=60)
    for part in (collections, queries, filters, reading):
        part(client, corpus)
        print(f"qdrant-client: {part.__name__} passed")
    errors(client)
    print("qdrant-client: errors passed")


main()
