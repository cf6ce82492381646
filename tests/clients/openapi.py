"""Every kind of answer against Qdrant's OpenAPI description, which CAIRN_OPENAPI names.

usage: openapi.py URL FOLDER      FOLDER holds corpus.npy and corpus.ids
"""

import json
import os
import pathlib
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
    yield "GET", "/", {}, None, 200
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
    for method, path, parameters, body, expected in requests(vector, ids):
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
