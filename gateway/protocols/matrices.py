"""Large JSON bodies whose bulk is numbers, read in about a third of the time: lists of numbers become arrays, and never Python objects.

simdjson reads numbers as exactly as orjson does, but its flat copy of a list forgets where rows end, takes integers that a float cannot
hold, and lets the first of two equal keys count. All of that is looked at here, and whatever is unusual (a missing value, a text, true, a large integer,
nested or uneven rows, half a surrogate, broken JSON) gives None: then orjson reads the body, and its values and sentences count.

Where simdjson is not installed (it has no wheels for some platforms), that is always so.
"""

from typing import Any, Final

import numpy as np

from gateway.schema.columns import EXACT
from gateway.types import Array

try:
    import simdjson
except ImportError:  # no wheel for this Python or machine
    simdjson = None  # type: ignore[assignment]

FEW: Final = 32  # numbers; a shorter list stays a list, since it may be a shape or an option
_MOST_KEYS: Final = 256  # looked up one by one
_MOST_ITEMS: Final = 64  # of a list that holds objects
_SATURATED: Final = 0xFFFFFF  # a longer list does not know its length


class ListsWanted(Exception):
    """These arrays mean nothing, or nothing quick, here: read the body as lists, whose sentences count too."""


class _Unusual(Exception):
    """orjson should read it."""


class MatrixReader:
    """Keeps simdjson's buffers from one body to the next."""

    def __init__(self) -> None:
        self._parser = None if simdjson is None else simdjson.Parser()

    def read(self, body: bytes | memoryview) -> dict[str, Any] | None:
        """The JSON object in `body`, in which each list of equally long rows of numbers is an array (n, width), and each list of at least
        `FEW` numbers an array (n,); float64, finite, below 2^53. None: read it otherwise. Never raises.
        """
        if self._parser is None:
            return None
        try:
            walk = _Walk()
            found = walk.value(self._parser.parse(body))
        # simdjson's errors are of many classes, and lone surrogates are met where keys become text.
        except (_Unusual, ValueError, TypeError, KeyError, RuntimeError, MemoryError):
            return None
        # As many lists as were seen: none hides among the numbers of a row.
        text = np.frombuffer(body, np.uint8)
        if type(found) is not dict or not walk.arrays or np.count_nonzero(text == ord("[")) != walk.lists:
            return None
        return found


class _Walk:
    """From simdjson's view of one document to plain values and arrays, counting lists and arrays."""

    def __init__(self) -> None:
        self.lists = self.arrays = 0

    def value(self, given: Any) -> Any:
        if isinstance(given, simdjson.Object):
            return self._object(given)
        return self._list(given) if isinstance(given, simdjson.Array) else given

    def _object(self, given: Any) -> dict[str, Any]:
        keys = list(given) if len(given) <= _MOST_KEYS else []
        if len({*keys}) != len(given) or any("\0" in key for key in keys):
            raise _Unusual
        return {key: self.value(given[key]) for key in keys}

    def _list(self, given: Any) -> Any:
        self.lists += 1
        count = len(given)
        if not count:
            return []
        first = given[0]
        if isinstance(first, simdjson.Array):
            return self._rows(given, count, len(first))
        if isinstance(first, int | float) and count >= FEW:
            return self._numbers(given, (count,))
        if count > _MOST_ITEMS:
            raise _Unusual
        return [self.value(item) for item in given]

    def _rows(self, given: Any, count: int, width: int) -> Array:
        self.lists += count
        for row in given:  # what is no list has no length
            if len(row) != width:
                raise _Unusual
        return self._numbers(given, (count, width))

    def _numbers(self, given: Any, shape: tuple[int, ...]) -> Array:
        numbers = np.frombuffer(given.as_buffer(of_type="d"))
        if max(shape) >= _SATURATED or not numbers.size or numbers.size != np.prod(shape):
            raise _Unusual
        if not (numbers.max() < EXACT and numbers.min() > -EXACT):
            raise _Unusual
        self.arrays += 1
        return numbers.reshape(shape)
