"""Shorter ways held against the public methods, one call at a time, while a child has nothing else to do.

Until a method's way is proved its public method answers. A way is proved when it gives the same bits on all probe rows, which are
drawn from where the model decides, and on all golden rows; and when it is quicker. Counted is this process's own CPU time, so a
busy machine changes nothing.

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
    from .shortcut_base import Array, Way

    Asked = Tuple[str, Array, Any]  # a method, its input, and what the public method answered

PATIENCE_S = 2.0  # CPU time for all methods of a model; what is not proved by then is public
OTHERS = ("int64", "float32", "int32")  # dtypes of inputs, beside float64
_SLOW_S = 0.25  # a public method that takes this long for one row gains nothing by less wrapping
_MARGIN = 1.05  # a way that gains less is not worth its risk


class Shortcut(object):
    """One method's shorter way: `name` for people, `gain` as measured with one row (public time / own time).

    `number` is its place among the candidates for such a model: the same in each process that loads the same bytes. `dtypes` are those of
    inputs that it may be given after they were turned into float64.
    """

    __slots__ = ("call", "dtypes", "gain", "name", "number")

    def __init__(self, name: str, call: "Way", gain: float, number: int) -> None:
        self.name, self.call, self.gain, self.number = name, call, gain, number
        self.dtypes: "Tuple[str, ...]" = ("float64",)


class Proof(object):
    """Proves ways for the public `methods` (bound, by name) of a model; `found` holds those in force.

    Args:
        golden: what was asked already, with the public methods' answers.
        known: what another process found for the same bytes in the same environment, as `Scorer.scoring` tells it; then only
            golden rows are asked again.
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
        """Each step is one call, or one preparation; between two of them callers may be answered."""
        work, spent = self._work(), 0.0
        while spent < PATIENCE_S:
            began = time.process_time()
            try:
                next(work)
            except StopIteration:
                return
            except Exception as error:  # an attribute that this version has not: no way is lost that was there
                sys.stderr.write("no shorter way to this model's answers: {}: {}\n".format(type(error).__name__, error))
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
                sys.stderr.write("a shorter way to {} differs on golden rows and is not used\n".format(method))
        if self.found:
            others = (yield from self._others(rows)) if self._known is None else None
            for method, way in self.found.items():
                way.dtypes = others or tuple((self._known or {})[method]["dtypes"])

    def _gain(self, method: str, call: "Way", rows: "List[Array]") -> "Generator[None, None, Optional[float]]":
        """How many times quicker `call` is with one row; None unless all its answers have the public method's bits."""
        if method not in self._expected:
            yield from self._ask(method, rows)
        asked, public_s = self._expected[method]
        if len(asked) < len(rows) or not (yield from self._agrees(call, asked)):
            return None
        return public_s / max(min(_timed(call, rows[0])[1] for _ in range(3)), 1e-9)

    def _others(self, rows: "List[Array]") -> "Generator[None, None, Tuple[str, ...]]":
        """The dtypes of inputs for which all ways give the public methods' bits when they come as float64.

        Labels alone would prove little: arithmetic of another precision mostly gives the same.
        """
        proved = ["float64"]
        for dtype in OTHERS:
            right, telling = True, False
            for X in rows[:3]:
                given = (np.rint(X) if dtype.startswith("int") else X).astype(dtype)
                for method, way in self.found.items():
                    try:
                        answer, _ = _timed(self._methods[method], given)
                    except Exception:
                        right = False
                        break
                    telling = telling or np.asarray(answer).dtype.kind == "f"
                    right = right and (yield from self._agrees(way.call, [(method, given.astype(float), answer)]))
            if right and telling:
                proved.append(dtype)
        return tuple(proved)

    def _ask(self, method: str, rows: "List[Array]") -> "Iterator[None]":
        """The public method's answers, none where it refuses a probe or takes too long; and its time for one row."""
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
        except Exception:  # its refusal of a probe: then nothing can be proved
            asked.clear()
        self._expected[method] = asked, seconds

    def _agrees(self, call: "Way", asked: "Sequence[Asked]", always: bool = True) -> "Generator[None, None, bool]":
        """Whether `call` has the same bits for all of it; with `always` False it may leave some to the public method."""
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


def _timed(call: "Way", X: "Array") -> "Tuple[Any, float]":
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
