"""Verifies shortcuts against the public methods, one call at a time, while the worker is idle.

The public method answers until its shortcut is verified. A shortcut is verified when it is faster and gives the same bits on all
golden rows and on all probe rows, which are drawn near the model's decision boundaries. Only this process's own CPU time counts, so
the load of the machine does not change the result.

Runs inside the model's own Python (3.6 and later), beside child.py.
"""

import sys
import time
from typing import TYPE_CHECKING, Any, Callable, Dict, Generator, Iterator, List, Optional, Sequence, Tuple

import numpy as np

from . import shortcut
from .shortcut_base import Unsupported
from .shortcut_probes import probes

if TYPE_CHECKING:
    from .shortcut_base import Array, FastCall

    Asked = Tuple[str, Array, Any]  # a method, its input, and what the public method answered

PATIENCE_S = 2.0  # CPU time for all methods of a model; methods not verified by then stay public
OTHERS = ("int64", "float32", "int32")  # dtypes of inputs, beside float64
_SLOW_S = 0.25  # above this time for one row, skipping the wrappers gains nothing
_MARGIN = 1.05  # the least gain that is worth the risk


class Shortcut(object):
    """A verified shortcut of one method: its display `name`, and its `gain` for one row (public time / own time).

    `number` is its index among the candidates, which is the same in every process that loads the same bytes. `dtypes` are the input
    dtypes that may be converted to float64 for it.
    """

    __slots__ = ("call", "dtypes", "gain", "name", "number")

    def __init__(self, name: str, call: "FastCall", gain: float, number: int) -> None:
        self.name, self.call, self.gain, self.number = name, call, gain, number
        self.dtypes: "Tuple[str, ...]" = ("float64",)


class Proof(object):
    """Verifies shortcuts for the public `methods` (bound, by name) of a model; `found` holds those in use.

    Args:
        golden: inputs that were scored already, with the public methods' answers.
        known: the result of `Scorer.scoring` from another process with the same bytes and environment; then only the golden rows
            are scored again.
    """

    def __init__(
        self,
        model: Any,
        methods: "Dict[str, Callable[[Any], Any]]",
        golden: "Sequence[Asked]" = (),
        known: "Optional[Dict[str, Dict[str, Any]]]" = None,
    ) -> None:
        self.found: "Dict[str, Shortcut]" = {}
        self._model, self._methods, self._golden, self._known = model, methods, golden, known
        self._expected: "Dict[str, Tuple[List[Asked], float]]" = {}

    def steps(self) -> "Iterator[None]":
        """Each step is one call or one preparation. Requests can be answered between two steps."""
        work, spent = self._work(), 0.0
        while spent < PATIENCE_S:
            began = time.process_time()
            try:
                next(work)
            except StopIteration:
                return
            except Exception as error:  # this version lacks an attribute; shortcuts found so far stay
                sys.stderr.write("no shortcut for this model: {}: {}\n".format(type(error).__name__, error))
                return
            spent += time.process_time() - began
            yield

    def _work(self) -> "Iterator[None]":
        width, candidates = shortcut.candidates(self._model)
        if not candidates or width < 1:
            return
        yield
        rows = probes(self._model, width) if self._known is None else []
        for number, (method, name, call) in enumerate(candidates):
            if method not in self._methods or method in self.found:
                continue
            if self._known is None:
                gain = yield from self._gain(method, call, rows)
            else:
                told = self._known.get(method) or {}
                gain = told.get("gain") if told.get("way") == number else None
            if gain is None or gain < _MARGIN:
                continue
            golden = [asked for asked in self._golden if asked[0] == method]
            if (yield from self._agrees(call, golden, always=False)):
                self.found[method] = Shortcut(name, call, round(gain, 1), number)
            else:
                sys.stderr.write("the shortcut for {} differs on golden rows and is not used\n".format(method))
        if self.found:
            others = (yield from self._others(rows)) if self._known is None else None
            for method, fast in self.found.items():
                fast.dtypes = others or tuple((self._known or {})[method]["dtypes"])

    def _gain(self, method: str, call: "FastCall", rows: "List[Array]") -> "Generator[None, None, Optional[float]]":
        """How many times faster `call` is for one row; None unless all its answers equal the public method's bit by bit."""
        if method not in self._expected:
            yield from self._ask(method, rows)
        asked, public_s = self._expected[method]
        if len(asked) < len(rows) or not (yield from self._agrees(call, asked)):
            return None
        return public_s / max(min(_timed(call, rows[0])[1] for _ in range(3)), 1e-9)

    def _others(self, rows: "List[Array]") -> "Generator[None, None, Tuple[str, ...]]":
        """The input dtypes for which all shortcuts give the public methods' bits on the float64 conversion.

        Labels alone prove little: arithmetic in another precision mostly gives the same labels.
        """
        proved = ["float64"]
        for dtype in OTHERS:
            right, telling = True, False
            for X in rows[:3]:
                given = (np.rint(X) if dtype.startswith("int") else X).astype(dtype)
                for method, fast in self.found.items():
                    try:
                        answer, _ = _timed(self._methods[method], given)
                    except Exception:
                        right = False
                        break
                    telling = telling or np.asarray(answer).dtype.kind == "f"
                    right = right and (yield from self._agrees(fast.call, [(method, given.astype(float), answer)]))
            if right and telling:
                proved.append(dtype)
        return tuple(proved)

    def _ask(self, method: str, rows: "List[Array]") -> "Iterator[None]":
        """Record the public method's answers (none if it refuses a probe or is too slow) and its time for one row."""
        public = self._methods[method]
        asked: "List[Asked]" = []
        self._expected[method] = asked, 0.0
        seconds = float("inf")
        try:
            for X in [rows[0], rows[0], *rows]:  # the first call of all is slower than the next
                answer, took = _timed(public, X)
                if len(X) == 1:
                    seconds = min(seconds, took)
                    if took > _SLOW_S:
                        return
                asked.append((method, X, answer))
                yield
        except Exception:  # it refused a probe, so nothing can be verified
            asked.clear()
        self._expected[method] = asked, seconds

    def _agrees(self, call: "FastCall", asked: "Sequence[Asked]", always: bool = True) -> "Generator[None, None, bool]":
        """Whether `call` gives the same bits for everything in `asked`. Unless `always`, it may leave inputs to the public method."""
        for _, X, answer in asked:
            try:
                own, _ = _timed(call, X)
            except Unsupported:
                if always:
                    return False
                continue
            except Exception:
                return False
            if not same(answer, own):
                return False
            yield
        return True


def _timed(call: "FastCall", X: "Array") -> "Tuple[Any, float]":
    X = X.copy()
    with np.errstate(all="ignore"):
        began = time.process_time()
        answer = call(X)
        return answer, time.process_time() - began


def same(a: Any, b: Any) -> bool:
    """Whether two answers have the same form, types and bits."""
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        if a.dtype != b.dtype or a.shape != b.shape:
            return False
        return bool((a == b).all()) if a.dtype.kind == "O" else a.tobytes() == b.tobytes()
    if isinstance(a, tuple) and isinstance(b, tuple):
        return len(a) == len(b) and all(same(one, other) for one, other in zip(a, b))
    return False
