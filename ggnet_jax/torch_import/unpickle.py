"""The pickle inside a PyTorch file, read as data: a stack machine that calls nothing.

A pickle is a program. This one builds plain containers, numbers and strings; what a file wants
called becomes a tensor (`rebuild`), an `Inert` record for the things that are found beside weights
(a configuration, NumPy's numbers), or ends in a `RefusedError`. Memory is bounded: no opcode makes
more than it is long, and there is a limit to their number.
"""

import dataclasses
import mmap
import pickletools
import re
import warnings
from collections.abc import Callable, Mapping
from typing import IO, Any, cast

MOST_OPCODES = 2_000_000
MOST_BYTES = 64 << 20
"""Hourglass-104 with Adam's state takes 300,000 opcodes and 4 MB."""


class RefusedError(Exception):
    """A file wants something called that is not among what a checkpoint needs; its name."""


class DamagedError(Exception):
    """A file ends too early or is not what its first bytes say; in what way."""


@dataclasses.dataclass(frozen=True, eq=False)
class Inert:
    """Something in a file that is no tensor with values.

    Attributes:
        what: it is, for messages.
    """

    what: str


@dataclasses.dataclass(frozen=True, eq=False)
class Global:
    """A function or class that a pickle names, as `module.name`. It is never imported."""

    name: str


# Beside the weights files hold these; nobody needs their values.
_INERT = re.compile(
    r"""
    numpy\.(?:dtype|ndarray|dtypes\.\w+|(?:_?core\.)(?:multiarray|numeric)\.\w+|random\.\w+)
    | argparse\.Namespace | types\.SimpleNamespace | collections\.(?:Counter|deque)
    | builtins\.(?:set|frozenset|complex|bytearray|slice|range|list|tuple|int|float|bool|str|bytes)
    | _codecs\.encode | datetime\.\w+ | pathlib\.\w*Path
    | easydict\.EasyDict | yacs\.config\.CfgNode | omegaconf\.\w+(?:\.\w+)*
    | addict\.(?:addict\.)?Dict
    | (?:pytorch_)?lightning(?:\.pytorch|_fabric)?\.utilities\.\w+\.AttributeDict
    | torch\.(?:device|Size|Tensor|Generator|[a-z]+\d\w*|(?:long|int|short|float|double|half|bool))
    | torch\.(?:per_\w+|strided|preserve_format|contiguous_format|channels_last)
    | torch\.(?:cuda\.)?\w+Storage | torch\.storage\.\w+Storage
    | torch\.nn\.parameter\.(?:Parameter|Buffer) | torch\.serialization\._get_layout
    """,
    re.VERBOSE,
)
_DICTIONARIES = ("collections.OrderedDict", "collections.defaultdict", "builtins.dict")
_PYTHON_2 = {"__builtin__": "builtins", "copy_reg": "copyreg"}

_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_ARGUMENTS = frozenset(
    """INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT BINFLOAT UNICODE BINUNICODE BINUNICODE8
    SHORT_BINUNICODE STRING BINSTRING SHORT_BINSTRING BINBYTES BINBYTES8 SHORT_BINBYTES
    BYTEARRAY8""".split()
)


def load(
    pickle: bytes | mmap.mmap,
    rebuild: Mapping[str, Callable[..., Any]],
    persistent_load: Callable[[Any], Any] | None = None,
) -> Any:
    """Run one pickle.

    Args:
        pickle: its bytes, or a mapped file that stands where it begins; afterwards it stands behind
            its end.
        rebuild: what to do where the pickle calls a function of this name, `module.function`.
        persistent_load: turns a persistent id into what it stands for.

    Raises:
        RefusedError: it wants something called that is neither in `rebuild` nor harmless.
        DamagedError: it is not a whole pickle, or too long a one.
    """
    machine = _Machine(rebuild, persistent_load)
    count, start = 0, None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of Python, about odd escapes in a garbled string
            for opcode, argument, position in pickletools.genops(cast(IO[bytes], pickle)):
                count += 1
                start = position if start is None else start
                if count > MOST_OPCODES or (position or 0) - (start or 0) > MOST_BYTES:
                    raise DamagedError("its pickle is longer than that of any checkpoint")
                machine.step(opcode.name, argument)
        return machine.stack.pop()
    except (RefusedError, DamagedError):
        raise
    # What a damaged pickle makes of the stack: too few entries, entries of other types.
    except (ValueError, IndexError, KeyError, TypeError, AttributeError, ArithmeticError) as error:
        raise DamagedError("the pickle in it breaks off or is garbled") from error


class _Machine:
    """Stack, marks and memo of a pickle that is run."""

    def __init__(self, rebuild: Mapping[str, Callable[..., Any]], persistent_load: Any):
        self.stack: list[Any] = []
        self._marks: list[int] = []
        self._memo: dict[int, Any] = {}
        self._rebuild = rebuild
        self._persistent_load = persistent_load

    def step(self, name: str, argument: Any) -> None:
        """Execute one opcode."""
        stack = self.stack
        if name in _ARGUMENTS:
            stack.append(_text(argument) if name.endswith("STRING") else argument)
        elif name in _CONSTANTS:
            stack.append(_CONSTANTS[name])
        elif name in ("BINPUT", "LONG_BINPUT", "PUT"):
            self._memo[argument] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET", "GET"):
            stack.append(self._memo[argument])
        else:
            getattr(self, f"_{name.lower()}", self._unknown)(argument)

    def _unknown(self, argument: Any) -> None:
        raise DamagedError("the pickle in it has operations that PyTorch does not write")

    def _proto(self, argument: Any) -> None:
        pass

    _frame = _stop = _proto

    def _memoize(self, argument: Any) -> None:
        self._memo[len(self._memo)] = self.stack[-1]

    def _mark(self, argument: Any) -> None:
        self._marks.append(len(self.stack))

    def _pop(self, argument: Any) -> None:
        self.stack.pop()

    def _pop_mark(self, argument: Any) -> None:
        self._above_mark()

    def _dup(self, argument: Any) -> None:
        self.stack.append(self.stack[-1])

    def _empty_list(self, argument: Any) -> None:
        self.stack.append([])

    def _empty_dict(self, argument: Any) -> None:
        self.stack.append({})

    def _empty_set(self, argument: Any) -> None:
        self.stack.append(Inert("a set"))

    def _list(self, argument: Any) -> None:
        self.stack.append(self._above_mark())

    def _tuple(self, argument: Any) -> None:
        self.stack.append(tuple(self._above_mark()))

    def _tuple1(self, argument: Any) -> None:
        self.stack.append((self.stack.pop(),))

    def _tuple2(self, argument: Any) -> None:
        self.stack[-2:] = [(self.stack[-2], self.stack[-1])]

    def _tuple3(self, argument: Any) -> None:
        self.stack[-3:] = [(self.stack[-3], self.stack[-2], self.stack[-1])]

    def _dict(self, argument: Any) -> None:
        items = self._above_mark()
        self.stack.append({})
        self._set(items)

    def _frozenset(self, argument: Any) -> None:
        self._above_mark()
        self.stack.append(Inert("a set"))

    def _append(self, argument: Any) -> None:
        self._extend([self.stack.pop()])

    def _appends(self, argument: Any) -> None:
        self._extend(self._above_mark())

    _additems = _appends

    def _setitem(self, argument: Any) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._set([key, value])

    def _setitems(self, argument: Any) -> None:
        self._set(self._above_mark())

    def _global(self, argument: str) -> None:
        self.stack.append(self._named(*argument.split(" ", 1)))

    def _stack_global(self, argument: Any) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        self.stack.append(self._named(module, name))

    def _reduce(self, argument: Any) -> None:
        arguments, function = self.stack.pop(), self.stack.pop()
        self.stack.append(self._call(function, arguments))

    _newobj = _reduce

    def _newobj_ex(self, argument: Any) -> None:
        self.stack.pop()  # keyword arguments, which only inert objects have
        self._reduce(argument)

    def _inst(self, argument: str) -> None:
        function = self._named(*argument.split(" ", 1))
        self.stack.append(self._call(function, tuple(self._above_mark())))

    def _obj(self, argument: Any) -> None:
        function, *arguments = self._above_mark()
        self.stack.append(self._call(function, tuple(arguments)))

    def _build(self, argument: Any) -> None:
        self.stack.pop()  # attributes: `_metadata` of a state dict, or those of an inert object

    def _binpersid(self, argument: Any) -> None:
        if self._persistent_load is None:
            raise DamagedError("a pickle in it asks for storages before there are any")
        self.stack.append(self._persistent_load(self.stack.pop()))

    def _above_mark(self) -> list[Any]:
        mark = self._marks.pop()
        items = self.stack[mark:]
        del self.stack[mark:]
        return items

    def _extend(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if isinstance(target, list):
            target.extend(items)
        elif not isinstance(target, Inert):
            raise DamagedError("the pickle in it appends to what is no list")

    def _set(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if isinstance(target, Inert):
            return
        for key, value in zip(items[::2], items[1::2], strict=True):
            # Hashing a tuple that is nested ten thousand deep would overflow the C stack.
            # Nor does Python write whole numbers of more than 4,300 digits.
            simple = isinstance(key, str | float) or (isinstance(key, int) and abs(key) < 2**63)
            target[key if simple else Inert("a key")] = value

    def _named(self, module: str, name: str) -> Global:
        full = f"{_PYTHON_2.get(module, module)}.{name}"
        if full in self._rebuild or full in _DICTIONARIES or _INERT.fullmatch(full):
            return Global(full)
        raise RefusedError(full)

    def _call(self, function: Any, arguments: Any) -> Any:
        if not isinstance(function, Global) or not isinstance(arguments, tuple):
            raise DamagedError("the pickle in it calls what is no function")
        name = function.name
        if name in self._rebuild:
            return self._rebuild[name](*arguments)
        if name in _DICTIONARIES:
            pairs = arguments[0] if name.endswith(".OrderedDict") and arguments else ()
            self.stack.append({})
            self._set([item for pair in pairs for item in pair])
            return self.stack.pop()
        return Inert("a NumPy array" if name.endswith("._reconstruct") else name)


def _text(argument: str) -> str:
    """A string of Python 2, whose bytes `pickletools` gives as Latin-1."""
    return argument.encode("latin-1").decode("utf-8", "replace")
