"""Every kind of answer against Qdrant's OpenAPI description, which CAIRN_OPENAPI names.

usage: openapi.py URL FOLDER      FOLDER holds corpus.npy and corpus.ids
"""

import json
import os
import pathlib
import re
import sys
import urllib.error
import urllib.parse
import urllib.request

import jsonschema
import numpy as np

def requests(vector, ids):
    """Method, path in the description, path parameters, body, expected status."""
    cosine = {"collection_name": "cosine"}
    query = {"query": vector, "limit": 3, "with_payload": True, "with_vector": True}
    empty = {"vectors": {"size": 4, "distance": "Dot"}}
    kinds = [
        {"scalar": {"type": "int8", "quantile": 0.99, "always_ram": True}},
        {"product": {"compression": "x64"}},
        {"binary": {"encoding": "two_bits", "query_encoding": "scalar8bits"}},
        {"turbo": {"bits": "bits1_5", "memory": "cached"}},
    ]
    for path in ("/", "/telemetry", "/cluster"):
        yield "GET", path, {}, None, 200
    yield "DELETE", "/issues", {}, None, 200
    for path in ("cluster", "optimizations", "aliases"):
        yield "GET", f"/collections/{{collection_name}}/{path}", cosine, None, 200
    yield "GET", "/collections/{collection_name}/cluster", {"collection_name": "never"}, None, 404
    yield "POST", "/cluster/recover", {}, None, 405
    yield "GET", "/collections/{collection_name}/snapshots", cosine, None, 501
    yield "GET", "/collections", {}, None, 200
    yield "PUT", "/collections/{collection_name}", {"collection_name": "fresh"}, empty, 200
    yield "PUT", "/collections/{collection_name}", {"collection_name": "fresh"}, empty, 409
    for name in ("cosine", "named", "fresh"):
        yield "GET", "/collections/{collection_name}", {"collection_name": name}, None, 200
    for name in ("fresh", "never"):
        yield "GET", "/collections/{collection_name}/exists", {"collection_name": name}, None, 200
    yield "DELETE", "/collections/{collection_name}", {"collection_name": "fresh"}, None, 200
    yield "GET", "/collections/{collection_name}", {"collection_name": "fresh"}, None, 404
    for kind in kinds:
        own = {"stone": {"size": 4, "distance": "Dot", "quantization_config": kind}}
        coded = {"collection_name": "coded"}
        yield "PUT", "/collections/{collection_name}", coded, {"vectors": own, "quantization_config": kind}, 200
        yield "GET", "/collections/{collection_name}", coded, None, 200
        yield "DELETE", "/collections/{collection_name}", coded, None, 200
    for id in ids:
        yield "GET", "/collections/{collection_name}/points/{id}", {**cosine, "id": id}, None, 200
    yield "POST", "/collections/{collection_name}/points", cosine, {"ids": ids, "with_vector": True}, 200
    yield "POST", "/collections/{collection_name}/points/query", cosine, query, 200
    params = {"quantization": {"ignore": False, "rescore": True, "oversampling": 2.0}, "indexed_only": True}
    yield "POST", "/collections/{collection_name}/points/query", cosine, {**query, "params": params}, 200
    yield "POST", "/collections/{collection_name}/points/query", cosine, {"query": [1.0]}, 400
    named = {"query": vector, "using": "stone", "with_vector": ["stone"]}
    yield "POST", "/collections/{collection_name}/points/query", {"collection_name": "named"}, named, 200
    yield "POST", "/collections/{collection_name}/points/query/batch", cosine, {"searches": [query, query]}, 200
    yield "POST", "/collections/{collection_name}/points/count", cosine, {}, 200
    yield "POST", "/collections/{collection_name}/points/scroll", cosine, {"limit": 5, "with_vector": True}, 200
    yield "POST", "/collections/{collection_name}/points/scroll", cosine, {"limit": 100_000}, 200
    for order in ("price", {"key": "at", "direction": "desc", "start_from": "2024-06-01T00:00:00Z"}):
        yield "POST", "/collections/{collection_name}/points/scroll", cosine, {"order_by": order}, 200
        yield "POST", "/collections/{collection_name}/points/query", cosine, {"query": {"order_by": order}}, 200
    zurich = {"lon": 8.54, "lat": 47.37}
    ring = {"points": [zurich, {"lon": 9.0, "lat": 47.0}, {"lon": 9.0, "lat": 48.0}, zurich]}
    conditions = [
        {"key": "city", "match": {"text": "Lim"}},
        {"key": "city", "match": {"text_any": "Lima Oslo"}},
        {"key": "city", "match": {"phrase": "Lima"}},
        {"key": "city", "match": {"prefix": "L"}},
        {"key": "spot", "geo_radius": {"center": zurich, "radius": 1000.0}},
        {"key": "spot", "geo_bounding_box": {"top_left": zurich, "bottom_right": {"lon": 9.0, "lat": 47.0}}},
        {"key": "spot", "geo_polygon": {"exterior": ring, "interiors": [ring]}},
        {"has_vector": "stone"},
        {"slice": {"index": 1, "total": 3}},
        {"nested": {"key": "place.doors", "filter": {"must": [{"key": "colour", "match": {"value": "red"}}]}}},
    ]
    for condition in conditions:
        filter = {"should": [condition], "min_should": {"conditions": [condition], "min_count": 1}}
        yield "POST", "/collections/{collection_name}/points/count", cosine, {"filter": filter}, 200
    for key in ("city", "row", "open", "tags[]"):
        yield "POST", "/collections/{collection_name}/facet", cosine, {"key": key, "limit": 3, "exact": True}, 200
    yield "POST", "/collections/{collection_name}/facet", {"collection_name": "never"}, {"key": "city"}, 404


def writing_requests():
    """Every endpoint that writes, in the same form."""
    written = {"collection_name": "written"}
    collection, points = "/collections/{collection_name}", "/collections/{collection_name}/points"
    point = lambda id: {"id": id, "vector": [1.0, 2.0], "payload": {"city": "Bern", "deep": {"n": 1}}}
    bern = {"filter": {"must": [{"key": "city", "match": {"value": "Bern"}}]}}
    columns = {"batch": {"ids": [1, 2], "vectors": [[1, 2], [3, 4]], "payloads": [{"a": 1}, None]}}
    moved = {"points": [{"id": 1, "vector": [5.0, 6.0]}]}
    metadata = {"owner": "quarry"}
    yield "PUT", collection, written, {"vectors": {"size": 2, "distance": "Euclid"}, "metadata": metadata}, 200
    yield "PATCH", collection, written, {"hnsw_config": {"m": 8}, "metadata": {"owner": None}}, 200
    yield "PATCH", collection, {"collection_name": "never"}, {}, 404
    vector = f"{collection}/vectors/{{vector_name}}"
    for name, config in (("late", {"dense": {"size": 3, "distance": "Dot"}}), ("words", {"sparse": {"modifier": "idf"}})):
        yield "PUT", vector, {**written, "vector_name": name}, config, 200
        yield "GET", collection, written, None, 200
        yield "DELETE", vector, {**written, "vector_name": name}, None, 200
    yield "GET", collection, written, None, 200
    yield "PUT", points, written, {"points": [point(1), point("9b1deb4d-3b7d-4bad-9bdd-2b0d7b3dcb6d")]}, 200
    yield "PUT", points, written, columns, 200
    yield "PUT", points, written, {"points": [point(3)], "update_mode": "insert_only", "update_filter": bern["filter"]}, 200
    yield "PUT", points, written, {"points": [{"id": 1, "vector": [1.0]}]}, 400
    yield "PUT", points, {"collection_name": "never"}, {"points": [point(1)]}, 404
    yield "PUT", f"{points}/vectors", written, {**moved, "update_filter": bern["filter"]}, 200
    yield "POST", f"{points}/payload", written, {"payload": {"x": 1}, "points": [1, 3], "key": "deep"}, 200
    yield "POST", f"{points}/payload", written, {"payload": {"x": 1}, **bern}, 200
    yield "POST", f"{points}/payload", written, {"payload": {"x": 1}, "points": [999]}, 404
    yield "PUT", f"{points}/payload", written, {"payload": {"city": "Oslo"}, "points": [1]}, 200
    yield "POST", f"{points}/payload/delete", written, {"keys": ["deep.n", "a[].b"], **bern}, 200
    yield "POST", f"{points}/payload/clear", written, {"points": [2]}, 200
    yield "POST", f"{points}/delete", written, {"points": [2]}, 200
    yield "POST", f"{points}/delete", written, {"filter": {"must": [{"has_id": [3]}]}}, 200
    yield "POST", f"{points}/delete", written, {"points": []}, 400
    operations = [
        {"upsert": {"points": [point(4)]}},
        {"upsert": columns},
        {"update_vectors": moved},
        {"set_payload": {"payload": {"x": 2}, "points": [4]}},
        {"overwrite_payload": {"payload": {"x": 3}, **bern}},
        {"delete_payload": {"keys": ["x"], "points": [4]}},
        {"clear_payload": {"points": [1]}},
        {"delete": {"points": [2]}},
    ]
    yield "POST", f"{points}/batch", written, {"operations": operations}, 200
    types = ["keyword", "integer", "float", "geo", "text", "bool", "datetime", "uuid"]
    indexes = [*types, {"type": "keyword", "is_tenant": True}, {"type": "text", "tokenizer": "word", "lowercase": True}]
    for at, index in enumerate(indexes):
        yield "PUT", f"{collection}/index", written, {"field_name": f"field{at}", "field_schema": index}, 200
    yield "GET", collection, written, None, 200
    yield "DELETE", f"{collection}/index/{{field_name}}", {**written, "field_name": "field0"}, None, 200
    actions = [
        {"create_alias": {"collection_name": "written", "alias_name": "first"}},
        {"rename_alias": {"old_alias_name": "first", "new_alias_name": "second"}},
    ]
    yield "POST", "/collections/aliases", {}, {"actions": actions}, 200
    yield "GET", "/aliases", {}, None, 200
    yield "GET", f"{collection}/aliases", written, None, 200
    yield "POST", "/collections/aliases", {}, {"actions": [{"delete_alias": {"alias_name": "second"}}]}, 200
    yield "POST", f"{points}/scroll", written, {"with_vector": True}, 200
    yield "POST", f"{points}/query", written, {"query": [1.0, 2.0], "with_payload": True}, 200
    yield "DELETE", collection, written, None, 200
    yield from vector_requests()


def vector_requests():
    """Points with several vectors, of all kinds, in the same form."""
    many = {"collection_name": "many"}
    collection, points = "/collections/{collection_name}", "/collections/{collection_name}/points"
    vectors = {
        "": {"size": 2, "distance": "Euclid"},
        "rows": {"size": 2, "distance": "Cosine", "datatype": "float16", "multivector_config": {"comparator": "max_sim"}},
        "bytes": {"size": 3, "distance": "Dot", "datatype": "uint8", "hnsw_config": {"m": 8}},
    }
    sparse = {"words": {"modifier": "idf", "index": {"on_disk": True, "full_scan_threshold": 7}}, "tags": {}}
    word = {"indices": [7, 3], "values": [0.5, 1.0]}
    whole = {"": [1.0, 2.0], "rows": [[1.0, 0.0], [0.6, 0.8]], "bytes": [1, 2, 255], "words": word}
    change = {"points": [{"id": 2, "vector": {"rows": [[1.0, 0.0]], "tags": word}}]}
    has = {"filter": {"must": [{"has_vector": "words"}]}}
    yield "PUT", collection, many, {"vectors": vectors, "sparse_vectors": sparse}, 200
    yield "PATCH", collection, many, {"vectors": {"": {"hnsw_config": {"m": 8}}}, "sparse_vectors": {"tags": {"modifier": "idf"}}}, 200
    yield "PATCH", collection, many, {"sparse_vectors": {"rows": {}}}, 400
    yield "GET", collection, many, None, 200
    listed = [{"id": 1, "vector": whole}, {"id": 2, "vector": [3.0, 4.0]}, {"id": 3, "vector": {}}]
    yield "PUT", points, many, {"points": listed}, 200
    yield "PUT", points, many, {"batch": {"ids": [4, 5], "vectors": {"rows": [[[1, 0]], [[0, 1], [1, 0]]], "words": [word, word]}}}, 200
    yield "PUT", points, many, {"points": [{"id": 6, "vector": {"words": [1.0]}}]}, 400
    yield "PUT", f"{points}/vectors", many, change, 200
    yield "POST", f"{points}/scroll", many, {"with_vector": True}, 200
    yield "POST", f"{points}/scroll", many, {"with_vector": ["rows", "words"], **has}, 200
    yield "POST", points, many, {"ids": [1, 3], "with_vector": True}, 200
    yield "POST", f"{points}/query", many, {"query": [1, 2, 3], "using": "bytes", "with_vector": True}, 200
    yield "POST", f"{points}/query", many, {"query": 3}, 404
    yield "POST", f"{points}/query", many, {"query": [1, 2], "using": "rows"}, 400
    yield "POST", f"{points}/vectors/delete", many, {"vector": ["", "rows"], "points": [1]}, 200
    yield "POST", f"{points}/vectors/delete", many, {"vector": ["words"], **has}, 200
    operations = [{"update_vectors": change}, {"delete_vectors": {"vector": ["tags"], "points": [2]}}]
    yield "POST", f"{points}/batch", many, {"operations": operations}, 200
    yield "POST", f"{points}/scroll", many, {"with_vector": True}, 200
    yield "DELETE", collection, many, None, 200


def unknown_operations(url, openapi):
    """Operations of the description that the server answers as if it had never heard of them."""
    for path, operations in openapi["paths"].items():
        for method in operations:
            target = re.sub(r"{[^}]+}", "never", path)
            body = b"[" if method in ("put", "post", "patch") else None
            request = urllib.request.Request(url + target, method=method.upper(), data=body)
            try:
                urllib.request.urlopen(request, timeout=60).close()
            except urllib.error.HTTPError as error:
                message = json.load(error)["status"]["error"]
                if "no endpoint" in message or message.startswith("Method "):
                    yield f"{method.upper()} {path}: {message}"


def main():
    url, folder = sys.argv[1], pathlib.Path(sys.argv[2])
    described = os.environ.get("CAIRN_OPENAPI")
    if not described:
        print("skipped: CAIRN_OPENAPI does not name Qdrant's OpenAPI description")
        return
    openapi = nullable(json.loads(pathlib.Path(described).read_text()))
    vector = np.load(folder / "corpus.npy")[0].tolist()
    ids = (folder / "corpus.ids").read_text().split("\n")[:3]
    ids = [int(id) if id.isdigit() else id for id in ids]
    checked = 0
    for method, path, parameters, body, expected in (*requests(vector, ids), *writing_requests()):
        target = path.format(**{key: urllib.parse.quote(str(value), safe="") for key, value in parameters.items()})
        operation = openapi["paths"][path][method.lower()]
        if body is not None:
            validate(openapi, operation["requestBody"]["content"]["application/json"]["schema"], body, f"request {target}")
        request = urllib.request.Request(
            url + target,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"content-type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as reply:
                status, answer = reply.status, json.load(reply)
        except urllib.error.HTTPError as error:
            status, answer = error.code, json.load(error)
        assert status == expected, (method, target, status, answer)
        responses = operation["responses"]
        kind = responses.get(str(status)) or responses.get("4XX" if status >= 400 else "200") or responses["default"]
        validate(openapi, kind["content"]["application/json"]["schema"], answer, f"{method} {target} {status}")
        checked += 1
    unknown = list(unknown_operations(url, openapi))
    assert not unknown, unknown
    print(f"openapi: {checked} answers follow the description")


def validate(openapi, schema, instance, context):
    document = {**schema, "components": openapi["components"]}
    errors = sorted(jsonschema.Draft202012Validator(document).iter_errors(instance), key=lambda e: list(e.path))
    assert not errors, (context, [f"{list(error.path)}: {error.message}"[:400] for error in errors[:3]], instance)


def nullable(node):
    """OpenAPI 3.0's `nullable` in JSON Schema's own words."""
    if isinstance(node, list):
        return [nullable(part) for part in node]
    if not isinstance(node, dict):
        return node
    node = {key: nullable(value) for key, value in node.items()}
    if node.pop("nullable", False) is True:
        return {"anyOf": [node, {"type": "null"}]} if node else {"type": "null"}
    return node


main()
