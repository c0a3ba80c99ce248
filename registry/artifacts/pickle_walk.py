"""What a pickle or joblib stream says, found by walking its opcodes. Nothing it names is imported or called.

`pickletools.genops` alone stops at the first array of a joblib file, because joblib writes raw array bytes between the
opcodes, and a search for byte patterns finds versions by luck. So the stream is walked with a stack and a memo of
stand-ins: enough is kept of each value to know the classes, the version entries in their states, and the length of
each raw array; everything else becomes an `Opaque` at once. Time, kept memory and stack depth are bounded.
"""

import struct
from collections.abc import Callable
from typing import Any, Final

from registry.artifacts.byte_source import ByteSource, Damaged, OutOfBudget
from registry.artifacts.pickle_values import (
    BYTES,
    FLOAT,
    INT,
    LIST,
    SET,
    TEXT,
    UNKNOWN,
    Global,
    Instance,
    element_count,
    is_array_wrapper,
    item_size,
    kept_tuple,
    leaves_of,
    small_int,
    wanted_items,
)

_KEPT_TEXT: Final = 200  # characters: a longer string is no module, class, key or version
_MOST_OPS: Final = 30_000_000
_MOST_KEPT: Final = 4_000_000  # stand-ins in the memo or on the stack, about 100 bytes each
_TICK: Final = 1 << 14


class PickleWalk:
    """One walk over one stream. `run` fills the attributes below; they hold what was seen until it stopped.

    Args:
        source: at the first opcode.
        joblib: whether raw bytes follow a NumpyArrayWrapper; False for the nested pickles of object arrays.
    """

    def __init__(self, source: ByteSource, *, joblib: bool = True, on_global: Callable[[str, str], None]) -> None:
        self.protocol = 0
        self.wrapped_arrays = 0
        self.companion_files = False
        self.sklearn_versions: list[tuple[Any, str]] = []
        self.root: Any = UNKNOWN
        self._source = source
        self._joblib = joblib
        self._on_global = on_global
        self._stack: list[Any] = []
        self._marks: list[int] = []
        self._memo: list[Any] = []
        self._sparse_memo: dict[int, Any] = {}  # entries out of order, which pickle.dump never writes

    def run(self) -> None:
        """Walk to the STOP opcode.

        Raises:
            Damaged: it is not a pickle, or is cut off.
            OutOfBudget: it is too costly; what was seen so far stands.
        """
        read, handlers = self._source.read, _HANDLERS
        try:
            for count in range(_MOST_OPS):
                code = read(1)[0]
                if code == _STOP:
                    self.root = self._pop()
                    return
                handler = handlers[code]
                if handler is None:
                    raise Damaged(f"byte {self._source.position - 1} is not a pickle opcode")
                handler(self)
                if not count % _TICK:
                    self._source.tick()
                    if len(self._memo) + len(self._sparse_memo) + len(self._stack) > _MOST_KEPT:
                        raise OutOfBudget
        except (IndexError, KeyError, ValueError, OverflowError, struct.error):
            raise Damaged(f"it breaks the rules of pickle at byte {self._source.position}") from None
        raise OutOfBudget

    # the stack

    def _pop(self) -> Any:
        if self._marks and self._marks[-1] == len(self._stack):
            raise IndexError
        return self._stack.pop()

    def _pop_to_mark(self) -> list[Any]:
        start = self._marks.pop()
        items = self._stack[start:]
        del self._stack[start:]
        return items

    def _drop_to_mark(self) -> None:
        self._pop_to_mark()

    def _push(self, value: Any) -> None:
        self._stack.append(value)

    def _top(self) -> Any:
        return self._stack[-1]

    def _mark(self) -> None:
        if len(self._marks) > _MOST_KEPT:
            raise OutOfBudget
        self._marks.append(len(self._stack))

    def _pop_value(self) -> None:
        if self._marks and self._marks[-1] == len(self._stack):
            self._marks.pop()
        else:
            self._stack.pop()

    # values

    def _text(self, count: int) -> None:
        if count > _KEPT_TEXT:
            self._source.skip(count)
            self._push(TEXT)
        else:
            self._push(self._source.read(count).decode("utf-8", "surrogatepass"))

    def _old_string(self, count: int) -> None:
        """STRING opcodes are `str` of Python 2 and are read as latin-1, since numpy's bytes come in them too."""
        if count < 0:
            raise ValueError
        if count > _KEPT_TEXT:
            self._source.skip(count)
            self._push(TEXT)
        else:
            self._push(self._source.read(count).decode("latin-1"))

    def _opaque_bytes(self, count: int) -> None:
        self._source.skip(count)
        self._push(BYTES)

    def _long(self, count: int) -> None:
        if count < 0:
            raise ValueError
        if count > 16:
            self._source.skip(count)
            self._push(INT)
        else:
            self._push(int.from_bytes(self._source.read(count), "little", signed=True))

    def _int_line(self) -> None:
        text = self._source.line()
        self._push(text == b"01" if text in (b"00", b"01") else small_int(text))

    def _string_line(self) -> None:
        text = self._source.line()
        if len(text) > _KEPT_TEXT:
            self._push(TEXT)
        elif len(text) >= 2 and text[:1] == text[-1:] and text[:1] in b"'\"":
            self._push(text[1:-1].decode("latin-1"))
        else:
            raise ValueError

    def _unicode_line(self) -> None:
        text = self._source.line()
        self._push(TEXT if len(text) > _KEPT_TEXT else text.decode("latin-1"))

    def _skip_and_push(self, count: int, value: Any) -> None:
        self._source.skip(count)
        self._push(value)

    def _float_line(self) -> None:
        float(self._source.line())
        self._push(FLOAT)

    # classes

    def _global(self) -> None:
        module, name = self._source.line(), self._source.line()
        self._push(self._named(module.decode("utf-8"), name.decode("utf-8")))

    def _stack_global(self) -> None:
        name, module = self._pop(), self._pop()
        if not isinstance(name, str) or not isinstance(module, str):
            raise Damaged("it names a class in a way that pickle.dump never does")
        self._push(self._named(module, name))

    def _named(self, module: str, name: str) -> Global:
        if not module or not name or len(module) > _KEPT_TEXT or len(name) > _KEPT_TEXT:
            raise ValueError
        self._on_global(module, name)
        if name in ("NDArrayWrapper", "ZNDArrayWrapper") and "joblib.numpy_pickle" in module:
            self.companion_files = True
        return Global(module, name)

    def _inst(self) -> None:
        module, name = self._source.line(), self._source.line()
        args = self._pop_to_mark()
        self._push(Instance(self._named(module.decode("utf-8"), name.decode("utf-8")), kept_tuple(args)))

    def _obj(self) -> None:
        cls, *args = self._pop_to_mark() or [UNKNOWN]
        self._push(Instance(cls, kept_tuple(args)))

    def _reduce(self) -> None:
        args, function = self._pop(), self._pop()
        made_by = (function.module, function.name) if isinstance(function, Global) else None
        if made_by in _MAKERS and isinstance(args, tuple) and args:
            function = args[0]  # the class is the first argument of the maker
        self._push(Instance(function, args))

    def _new(self, arguments: int) -> None:
        taken = [self._pop() for _ in range(arguments)]
        self._push(Instance(self._pop(), taken[-1]))

    def _extension(self, width: int) -> None:
        self._source.skip(width)
        self._push(UNKNOWN)

    def _persistent(self) -> None:
        raise Damaged("it refers to objects outside of itself, so neither pickle.dump nor joblib.dump wrote it")

    def _buffer(self) -> None:
        raise Damaged("its arrays were pickled out of band and are not in the file")

    # containers

    def _tuple(self, count: int) -> None:
        items = [self._pop() for _ in range(count)]
        self._push(kept_tuple(items[::-1]))

    def _marked_tuple(self) -> None:
        self._push(kept_tuple(self._pop_to_mark()))

    def _marked(self, value: Any) -> None:
        self._pop_to_mark()
        self._push(value)

    def _append(self) -> None:
        self._pop()
        self._top()

    def _appends(self) -> None:
        self._pop_to_mark()
        self._top()

    def _dict(self) -> None:
        self._push(wanted_items({}, self._pop_to_mark()))

    def _setitem(self) -> None:
        value, key = self._pop(), self._pop()
        wanted_items(self._top(), [key, value])

    def _setitems(self) -> None:
        items = self._pop_to_mark()
        wanted_items(self._top(), items)

    # memo

    def _get(self, index: int) -> None:
        if index < 0:
            raise IndexError
        self._push(self._memo[index] if index < len(self._memo) else self._sparse_memo[index])

    def _put(self, index: int) -> None:
        if index == len(self._memo):
            self._memo.append(self._top())
        elif 0 <= index < len(self._memo):
            self._memo[index] = self._top()
        else:
            self._sparse_memo[index] = self._top()

    def _memoize(self) -> None:
        self._put(len(self._memo) + len(self._sparse_memo))

    # states

    def _build(self) -> None:
        state, built = self._pop(), self._top()
        if not isinstance(built, Instance):
            return
        built.state = leaves_of(state)
        if isinstance(state, tuple) and state and isinstance(state[0], dict):
            state = state[0]  # (dictionary, slots)
        if isinstance(state, dict) and isinstance(state.get("_sklearn_version"), str):
            self.sklearn_versions.append((built.cls, state["_sklearn_version"]))
        if self._joblib and is_array_wrapper(built.cls):
            self._stack[-1] = self._array(state)

    def _array(self, wrapper: Any) -> Instance:
        """joblib wrote the array's bytes right here; they are passed over."""
        if not isinstance(wrapper, dict):
            raise ValueError
        self.wrapped_arrays += 1
        width, has_objects = item_size(wrapper.get("dtype"))
        if has_objects:
            nested = PickleWalk(self._source, joblib=False, on_global=self._on_global)
            try:
                nested.run()
            finally:
                self.protocol = max(self.protocol, nested.protocol)
                self.sklearn_versions += nested.sklearn_versions
        else:
            if wrapper.get("numpy_array_alignment_bytes") is not None:
                self._source.skip(self._source.read(1)[0])
            self._source.skip(element_count(wrapper.get("shape")) * width)
        return Instance(wrapper.get("subclass"), ())

    def _proto(self) -> None:
        protocol = self._source.read(1)[0]
        if protocol > 5:
            raise Damaged(f"it says pickle protocol {protocol}; the newest is 5")
        self.protocol = max(self.protocol, protocol)

    def _uint(self, width: int) -> int:
        return int.from_bytes(self._source.read(width), "little")

    def _sint(self) -> int:
        return int.from_bytes(self._source.read(4), "little", signed=True)


_MAKERS: Final = frozenset(
    {
        ("copyreg", "_reconstructor"),
        ("copy_reg", "_reconstructor"),
        ("copyreg", "__newobj__"),
        ("copy_reg", "__newobj__"),
        ("copyreg", "__newobj_ex__"),
        ("numpy.core.multiarray", "_reconstruct"),
        ("numpy._core.multiarray", "_reconstruct"),
    }
)


_Handler = Callable[[PickleWalk], None]
_STOP: Final = ord(".")
_OPCODES: Final[dict[int, _Handler]] = {
    ord("("): PickleWalk._mark,
    ord("0"): PickleWalk._pop_value,
    ord("1"): lambda w: w._drop_to_mark(),
    ord("2"): lambda w: w._push(w._top()),
    ord("F"): PickleWalk._float_line,
    ord("I"): PickleWalk._int_line,
    ord("J"): lambda w: w._push(w._sint()),
    ord("K"): lambda w: w._push(w._uint(1)),
    ord("L"): lambda w: w._push(small_int(w._source.line())),
    ord("M"): lambda w: w._push(w._uint(2)),
    ord("N"): lambda w: w._push(None),
    ord("P"): PickleWalk._persistent,
    ord("Q"): PickleWalk._persistent,
    ord("R"): PickleWalk._reduce,
    ord("S"): PickleWalk._string_line,
    ord("T"): lambda w: w._old_string(w._sint()),
    ord("U"): lambda w: w._old_string(w._uint(1)),
    ord("V"): PickleWalk._unicode_line,
    ord("X"): lambda w: w._text(w._uint(4)),
    ord("a"): PickleWalk._append,
    ord("b"): PickleWalk._build,
    ord("c"): PickleWalk._global,
    ord("d"): PickleWalk._dict,
    ord("}"): lambda w: w._push({}),
    ord("e"): PickleWalk._appends,
    ord("g"): lambda w: w._get(int(w._source.line())),
    ord("h"): lambda w: w._get(w._uint(1)),
    ord("i"): PickleWalk._inst,
    ord("j"): lambda w: w._get(w._uint(4)),
    ord("l"): lambda w: w._marked(LIST),
    ord("]"): lambda w: w._push(LIST),
    ord("o"): PickleWalk._obj,
    ord("p"): lambda w: w._put(int(w._source.line())),
    ord("q"): lambda w: w._put(w._uint(1)),
    ord("r"): lambda w: w._put(w._uint(4)),
    ord("s"): PickleWalk._setitem,
    ord("t"): PickleWalk._marked_tuple,
    ord(")"): lambda w: w._push(()),
    ord("u"): PickleWalk._setitems,
    ord("G"): lambda w: w._skip_and_push(8, FLOAT),
    ord("B"): lambda w: w._opaque_bytes(w._uint(4)),
    ord("C"): lambda w: w._opaque_bytes(w._uint(1)),
    0x80: PickleWalk._proto,
    0x81: lambda w: w._new(1),
    0x82: lambda w: w._extension(1),
    0x83: lambda w: w._extension(2),
    0x84: lambda w: w._extension(4),
    0x85: lambda w: w._tuple(1),
    0x86: lambda w: w._tuple(2),
    0x87: lambda w: w._tuple(3),
    0x88: lambda w: w._push(True),
    0x89: lambda w: w._push(False),
    0x8A: lambda w: w._long(w._uint(1)),
    0x8B: lambda w: w._long(w._sint()),
    0x8C: lambda w: w._text(w._uint(1)),
    0x8D: lambda w: w._text(w._uint(8)),
    0x8E: lambda w: w._opaque_bytes(w._uint(8)),
    0x8F: lambda w: w._push(SET),
    0x90: PickleWalk._appends,
    0x91: lambda w: w._marked(SET),
    0x92: lambda w: w._new(2),
    0x93: PickleWalk._stack_global,
    0x94: PickleWalk._memoize,
    0x95: lambda w: w._source.skip(8),
    0x96: lambda w: w._opaque_bytes(w._uint(8)),
    0x97: PickleWalk._buffer,
    0x98: lambda w: w._push(w._pop()),
}
_HANDLERS: Final[list[_Handler | None]] = [_OPCODES.get(code) for code in range(256)]
