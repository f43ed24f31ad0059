"""Pickled PyTorch modules read as plain data: nothing in a file is ever imported or called.

Some authors publish ``torch.save(module)``, which stores Python objects of their own classes.
Unpickling it would import those classes and call whatever the file names. The interpreter here
runs the pickle's opcodes on inert records instead: a class is its name, a call is a note that it
was asked for, and of all calls only those that describe a tensor mean anything to it.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import torch

_DTYPES = {
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}


class UnreadablePickleError(Exception):
    """The file is no pickle of PyTorch's, or one that is not to be trusted."""


@dataclass(frozen=True)
class ClassName:
    """What stands for a class or function: its name, and nothing that could be called."""

    module: str
    name: str


@dataclass
class Instance:
    """What stands for an object: the name of its class, what it was made with, and its state."""

    class_name: ClassName
    arguments: Any
    state: dict[Any, Any] = field(default_factory=dict)
    items: dict[Any, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Storage:
    """The memory of tensors: a key into the file."""

    dtype: torch.dtype
    key: str


@dataclass(frozen=True)
class TensorLayout:
    """Where in a storage a tensor lies, as the file claims; nothing here has been checked."""

    storage: Storage
    offset: Any
    sizes: Any
    strides: Any


_MARK = object()
_KEY_TYPES = (str, int, float, bool, type(None))


MakeTensor = Callable[[TensorLayout], Any]


def interpret(file: BinaryIO, make_tensor: MakeTensor = lambda layout: layout) -> Any:
    """Run the opcodes of one pickle and return what they leave, made of inert records.

    ``make_tensor`` turns the layouts of tensors into what shall stand for them. Raises
    UnreadablePickleError for opcodes that PyTorch does not write, and, where a pickle
    contradicts itself, whatever the operations on its stack raise: ValueError, LookupError,
    TypeError or AttributeError.
    """
    stack: list[Any] = []
    memo: dict[Any, Any] = {}
    for opcode, argument, _ in pickletools.genops(file):
        name = opcode.name
        if name == "STOP":
            return stack.pop()
        if name in ("PROTO", "FRAME"):
            continue
        if name in _LITERALS:
            stack.append(argument)
        elif name in _CONSTANTS:
            stack.append(_CONSTANTS[name]())
        elif name in ("BINPUT", "LONG_BINPUT"):
            memo[argument] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            stack.append(memo[argument])
        elif name == "BINPERSID":
            stack.append(_storage(stack.pop()))
        elif name in ("REDUCE", "NEWOBJ"):
            result = _call(stack)
            stack.append(make_tensor(result) if isinstance(result, TensorLayout) else result)
        elif name in _OPERATIONS:
            _OPERATIONS[name](stack, argument)
        else:
            raise UnreadablePickleError(f"it uses {name}, which PyTorch does not")
    raise UnreadablePickleError("it ends too early")


def _since_mark(stack: list[Any]) -> list[Any]:
    """Pop all that lies above the last mark, and the mark."""
    at = len(stack) - 1
    while stack[at] is not _MARK:
        if at == 0:
            raise UnreadablePickleError("a mark is missing")
        at -= 1
    values = stack[at + 1 :]
    del stack[at:]
    return values


def _push_tuple(n: int) -> Callable[[list[Any], Any], None]:
    def operation(stack: list[Any], _: Any) -> None:
        values = tuple(stack[-n:])
        if len(values) < n:
            raise UnreadablePickleError("its stack is empty")
        stack[-n:] = [values]

    return operation


def _push_global(stack: list[Any], argument: str) -> None:
    module, _, name = argument.partition(" ")
    stack.append(ClassName(module, name))


def _call(stack: list[Any]) -> Any:
    """Say what a call stands for. Only those that describe a tensor or a dict mean anything."""
    arguments, function = stack.pop(), stack.pop()
    if not isinstance(function, ClassName):
        raise UnreadablePickleError("it calls something that is no class")
    if function == ClassName("collections", "OrderedDict"):
        return {}
    if function.module != "torch._utils":
        return Instance(function, arguments)
    if function.name in ("_rebuild_tensor", "_rebuild_tensor_v2"):
        storage, offset, sizes, strides = arguments[:4]
        if not isinstance(storage, Storage):
            raise UnreadablePickleError("the numbers of a tensor are missing")
        return TensorLayout(storage, offset, sizes, strides)
    if function.name in ("_rebuild_parameter", "_rebuild_parameter_with_state"):
        return arguments[0]
    return Instance(function, arguments)


def _build(stack: list[Any], _: Any) -> None:
    """Give an object its state. What is no object of the authors' classes needs none."""
    state = stack.pop()
    if isinstance(stack[-1], Instance) and isinstance(state, dict):
        stack[-1].state.update(state)


def _set_items(target: Any, values: list[Any]) -> None:
    if not all(type(key) in _KEY_TYPES for key in values[::2]):  # hashing others may recurse
        raise UnreadablePickleError("it has a dict with keys that are neither names nor numbers")
    pairs = dict(zip(values[::2], values[1::2], strict=True))
    if isinstance(target, Instance):
        target.items.update(pairs)
    elif isinstance(target, dict):
        target.update(pairs)
    else:
        raise UnreadablePickleError("it fills something that is no dict")


def _append_items(target: Any, values: list[Any]) -> None:
    if not isinstance(target, list):
        raise UnreadablePickleError("it lengthens something that is no list")
    target.extend(values)


def _append_one(stack: list[Any], _: Any) -> None:
    value = stack.pop()
    _append_items(stack[-1], [value])


def _append_many(stack: list[Any], _: Any) -> None:
    values = _since_mark(stack)
    _append_items(stack[-1], values)


def _set_one(stack: list[Any], _: Any) -> None:
    value, key = stack.pop(), stack.pop()
    _set_items(stack[-1], [key, value])


def _set_many(stack: list[Any], _: Any) -> None:
    values = _since_mark(stack)
    _set_items(stack[-1], values)


_LITERALS = {
    "BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE",
    "SHORT_BINSTRING", "BINSTRING", "BINBYTES", "SHORT_BINBYTES",
}  # fmt: skip
_CONSTANTS: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_TUPLE": tuple,
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
    "MARK": lambda: _MARK,
}
_OPERATIONS: dict[str, Callable[[list[Any], Any], None]] = {
    "TUPLE": lambda stack, _: stack.append(tuple(_since_mark(stack))),
    "TUPLE1": _push_tuple(1),
    "TUPLE2": _push_tuple(2),
    "TUPLE3": _push_tuple(3),
    "GLOBAL": _push_global,
    "BUILD": _build,
    "APPEND": _append_one,
    "APPENDS": _append_many,
    "SETITEM": _set_one,
    "SETITEMS": _set_many,
}


def _storage(identifier: Any) -> Storage | Instance | ClassName:
    """Understand a persistent id: a storage, or (in old files) a class with its source."""
    kind, class_name = identifier[:2]
    if kind == "module":
        return _checked_class(class_name)
    if kind != "storage":
        raise UnreadablePickleError("it refers to something that lies in no file")
    name = _checked_class(class_name).name
    if name not in _DTYPES:
        raise UnreadablePickleError(f"it stores numbers as {name!r}")
    _, _, key, _, _, view = (*identifier, None)[:6]
    if type(key) is not str or view is not None:
        raise UnreadablePickleError("it refers to numbers in a way that is not understood")
    return Storage(_DTYPES[name], key)


def _checked_class(value: Any) -> ClassName:
    if not isinstance(value, ClassName):
        raise UnreadablePickleError("it names no class where one must be")
    return value
