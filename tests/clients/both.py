"""Two clients of one library: one asks a server, the other is its local mode, which computes in this process and serves as the model."""

import copy
import math

from pydantic import BaseModel
from qdrant_client import QdrantClient, models
from qdrant_client.http.exceptions import UnexpectedResponse

# What the model has no counterpart of: numbers of operations and versions are a server's own.
OWN = {"operation_id", "version"}


class Both:
    """Every method of the client, asked of the server and of the model: both answer alike, or both refuse."""

    def __init__(self, server):
        self.server, self.model = server, QdrantClient(":memory:")

    def __getattr__(self, method):
        def ask(*args, **kwargs):
            context = (method, args, kwargs)
            answer, expected = (
                attempt(getattr(client, method), *copy.deepcopy((args, kwargs))) for client in (self.server, self.model)
            )
            assert isinstance(answer, Refusal) == isinstance(expected, Refusal), (context, answer, expected)
            if not isinstance(answer, Refusal):
                difference = differ(plain(answer), plain(expected))
                assert difference is None, (context, difference)
            return answer

        return ask


class Refusal(Exception):
    """A call that failed, and how."""


def attempt(call, args, kwargs):
    try:
        return call(*args, **kwargs)
    except (UnexpectedResponse, ValueError, KeyError) as error:
        return Refusal(repr(error))


def plain(answer):
    """An answer as JSON would have it, without what is a server's own."""
    if isinstance(answer, BaseModel):
        return {key: plain(value) for key, value in answer if key not in OWN}
    if isinstance(answer, dict):
        return {key: plain(value) for key, value in answer.items()}
    if isinstance(answer, (list, tuple)):
        return [plain(value) for value in answer]
    return answer


def differ(a, b, path=""):
    """Where two answers differ by more than a rounding error."""
    if isinstance(a, dict) and isinstance(b, dict):
        if a.keys() != b.keys():
            return path, a, b
        pairs = [(a[key], b[key], f"{path}.{key}") for key in a]
    elif isinstance(a, list) and isinstance(b, list):
        if len(a) != len(b):
            return path, a, b
        pairs = [(x, y, f"{path}[{at}]") for at, (x, y) in enumerate(zip(a, b))]
    elif isinstance(a, float) and isinstance(b, float):
        return None if math.isclose(a, b, rel_tol=1e-4, abs_tol=1e-4) else (path, a, b)
    else:
        return None if a == b and type(a) is type(b) else (path, a, b)
    return next((found for pair in pairs if (found := differ(*pair))), None)


def same(answers, expected):
    """Answers of two runs of the same steps are alike; how many there are."""
    compared = 0
    for compared, (answer, model) in enumerate(zip(answers, expected, strict=True), 1):
        difference = differ(plain(answer), plain(model))
        assert difference is None, (compared, difference)
    return compared
