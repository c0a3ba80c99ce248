"""Any bytes as the body of a scoring request, for every dialect and kind of model: atheris looks for what is neither read nor refused.

Run by `make fuzz` in an environment that holds atheris; `python -m tests.fuzz.adapters FILE` shows again what was found. An input is
two bytes that choose dialect, model and headers, and the body. Right is a request that is read, joined and answered, or an error with
a status below 500. A hang, or memory out of proportion, ends the run: libFuzzer watches both.
"""

import json
import sys
from copy import deepcopy
from random import Random
from typing import Any, Final

import atheris  # type: ignore[import-not-found,unused-ignore]

with atheris.instrument_imports(include=["gateway"]):
    import numpy as np

    from gateway.dataplane.collate import join
    from gateway.errors import NoScoringMethod
    from gateway.http.compression import decompressed
    from gateway.http.errors import status_of
    from gateway.protocols import dialects
    from gateway.types import Call, Dialect, FrameResult, ScoreResult
    from gateway.worker.rawhttp import Request
    from registry.errors import CallerError

    DIALECTS: Final[list[Dialect]] = dialects()  # imports them: they must be in here

from tests.fuzz.words import VALUES, WORDS
from tests.gateway.protocols.wire import NAMED, PLAIN, TEXT, target

TARGETS: Final = [
    target(PLAIN, ("predict", "predict_proba", "inverse_transform")),
    target(NAMED, ("predict",)),
    target({"kind": "columns", "feature_names": ["t", "n"], "column_types": {"t": "datetime"}}, ("transform",)),
    target(TEXT, ("predict", "transform")),
    target({"kind": "list", "item": "record"}, ("transform",)),
    target({}, ("predict", "kneighbors")),
    target({"kind": "script"}, ("run",)),
]
LENGTH: Final = b"inference-header-content-length"
JSON: Final = b"application/json"
#: What may be said of a body; for the binary tensors the length is that of the JSON up to the first NUL.
HEADERS: Final[list[dict[bytes, bytes]]] = [
    {b"content-type": JSON},
    {b"content-type": b"text/csv"},
    {b"content-type": JSON, LENGTH: b"?"},
    {b"content-type": JSON, b"content-encoding": b"gzip"},
    {b"content-type": JSON, b"content-encoding": b"deflate"},
    {b"content-type": b"multipart/form-data; boundary=x"},
]
BODY_LIMIT: Final = 10_000_000


def one_input(data: bytes) -> None:
    """libFuzzer calls this; what it raises is a finding."""
    if len(data) < 2:
        return
    dialect = DIALECTS[data[0] % len(DIALECTS)]
    whom = TARGETS[data[0] // len(DIALECTS) % len(TARGETS)]
    headers = dict(HEADERS[data[1] % len(HEADERS)])
    body, query, verb = data[2:], b"", "POST"
    if LENGTH in headers:
        text = body.split(b"\0", 1)[0]
        headers[LENGTH] = b"%d" % len(text)
    if data[1] >= 0x80:  # the query instead of the body
        body, query, verb = b"", body, "GET"
    try:
        _score(dialect, whom, Call(body, headers, query, None, verb))
    except (CallerError, NoScoringMethod) as error:
        if status_of(error) >= 500:
            raise
        dialect.error(str(error), error).decode()


def _score(dialect: Dialect, whom: Any, call: Call) -> None:
    encoding = call.headers.get(b"content-encoding")
    if encoding is not None:
        call.body = decompressed(call.body, encoding, BODY_LIMIT)
    request = dialect.parse(call, whom)
    if request.once:
        _looked_at(call)
        return
    join([request])
    methods = request.method.split(",")
    answers = [np.linspace(0, 1, 3 * request.n_rows).reshape(-1, 3) for _ in methods]
    output: Any = tuple(answers) if len(answers) > 1 else answers[0]
    dialect.format(request, ScoreResult(FrameResult(output, 1), 0, -1), whom)


def _looked_at(call: Call) -> None:
    """What a raw scoring script may look at."""
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in call.headers.items()}
    head = {"method": call.verb, "path": "/score", "query": call.query.decode("latin-1"), "headers": headers}
    request = Request(head, call.body)
    request.values.to_dict(flat=False), request.files, request.get_json(force=True, silent=True)


def mutated(data: bytes, most: int, seed: int) -> bytes:
    """Half of the time a change of the JSON's tree: bytes changed at random are soon no JSON any more."""
    random = Random(seed)
    text, nul, rest = data[2:].partition(b"\0")
    try:
        tree = json.loads(text) if random.random() < 0.5 else None
    except (ValueError, RecursionError):
        tree = None
    if not isinstance(tree, dict | list) or not tree:
        return bytes(atheris.Mutate(data, most))
    try:
        for _ in range(random.randint(1, 3)):
            _change(tree, random)
        changed = data[:2] + json.dumps(tree).encode() + nul + rest
    except RecursionError:
        return bytes(atheris.Mutate(data, most))
    return changed if len(changed) <= most else bytes(atheris.Mutate(data, most))


def _change(tree: Any, random: Random) -> None:
    """One of its members becomes another value, two of them, or none."""
    while True:
        keys = list(tree) if isinstance(tree, dict) else list(range(len(tree)))
        if not keys:
            return
        key = random.choice(keys)
        if isinstance(tree[key], dict | list) and random.random() < 0.7:
            tree = tree[key]
            continue
        way = random.randrange(4)
        if way == 0:
            del tree[key]
        elif way == 1 and isinstance(tree, list):
            tree.append(deepcopy(tree[key]))
        elif way == 1:
            tree[random.choice(WORDS)] = deepcopy(tree[key])
        else:
            tree[key] = random.choice(
                [*deepcopy(VALUES), random.choice(WORDS), [tree[key]], {random.choice(WORDS): tree[key]}]
            )
        return


if __name__ == "__main__":
    atheris.Setup(sys.argv, one_input, custom_mutator=mutated)
    atheris.Fuzz()
