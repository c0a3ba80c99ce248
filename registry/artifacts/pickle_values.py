"""Stand-ins for the values of a pickle stream: what is kept of each while `registry.artifacts.pickle_walk` walks it."""

import math
import re
from typing import Any, Final

from registry.artifacts.byte_source import OutOfBudget

_KEPT_TUPLE: Final = 64  # items: numpy has at most 64 dimensions
# Keys of states whose values are wanted; a vocabulary of a million words is thus not held twice.
_WANTED: Final = frozenset(
    {"_sklearn_version", "subclass", "shape", "order", "dtype", "allow_mmap", "numpy_array_alignment_bytes"}
)
_DTYPE: Final = re.compile(r"[<>|=]?([a-zA-Z?])(\d*)")
_HAS_OBJECT: Final = 1  # of numpy's dtype flags


class Opaque:
    """A value of which only the type's name is kept, for the root of the stream."""

    __slots__ = ("type_name",)

    def __init__(self, type_name: str) -> None:
        self.type_name = type_name


FLOAT, BYTES, TEXT, INT = Opaque("float"), Opaque("bytes"), Opaque("str"), Opaque("int")
LIST, SET, TUPLE, UNKNOWN = Opaque("list"), Opaque("set"), Opaque("tuple"), Opaque("object")


class Global:
    """`module.name`, named and not imported."""

    __slots__ = ("module", "name")

    def __init__(self, module: str, name: str) -> None:
        self.module, self.name = module, name


class Instance:
    """What calling `cls` would have made. It holds only leaves, so that no chain of stand-ins can grow deep."""

    __slots__ = ("args", "cls", "state")

    def __init__(self, cls: Any, args: Any) -> None:
        self.cls = cls if isinstance(cls, Global) else None
        self.args = leaves_of(args)
        self.state: tuple[Any, ...] = ()


_LEAVES: Final = (str, int, Global, Opaque)


def small_int(text: bytes) -> Any:
    text = text.removesuffix(b"L")
    if len(text) > 40:
        return INT
    return int(text)


def kept_tuple(items: list[Any]) -> Any:
    if len(items) > _KEPT_TUPLE:
        return TUPLE
    return tuple(UNKNOWN if isinstance(item, tuple | Instance) else item for item in items)


def leaves_of(items: Any) -> tuple[Any, ...]:
    if not isinstance(items, tuple):
        return ()
    return tuple(item if item is None or isinstance(item, _LEAVES) else UNKNOWN for item in items)


def wanted_items(into: Any, items: list[Any]) -> Any:
    if len(items) % 2:
        raise ValueError
    if isinstance(into, dict):
        for key, value in zip(items[::2], items[1::2], strict=True):
            if type(key) is str and key in _WANTED:
                into[key] = UNKNOWN if isinstance(value, dict) else value
    return into


def is_array_wrapper(cls: Any) -> bool:
    return isinstance(cls, Global) and cls.name == "NumpyArrayWrapper" and cls.module.endswith("joblib.numpy_pickle")


def element_count(shape: Any) -> int:
    if not isinstance(shape, tuple):
        raise OutOfBudget  # a shape that was computed: what follows cannot be found
    if not all(type(n) is int and n >= 0 for n in shape):
        raise ValueError
    return math.prod(shape)


def item_size(dtype: Any) -> tuple[int, bool]:
    """Bytes per element, and whether the elements are Python objects, from how numpy pickles a dtype:
    ``dtype('f8', False, True)`` with the state ``(version, byte order, …, item size, alignment, flags)``."""
    if not isinstance(dtype, Instance) or not dtype.args:
        raise OutOfBudget
    found = _DTYPE.fullmatch(dtype.args[0]) if isinstance(dtype.args[0], str) else None
    if not found:
        raise OutOfBudget
    kind, digits = found.groups()
    state = dtype.state
    flags = state[7] if len(state) > 7 and type(state[7]) is int else 0
    if kind == "O" or flags & _HAS_OBJECT:
        return 0, True
    if len(state) > 5 and type(state[5]) is int and state[5] >= 0:
        return state[5], False
    size = int(digits or 1)
    return (4 * size if kind == "U" else size), False
