"""Pickles of arrays and plain containers, read by a machine that knows nothing else.

The standard unpickler calls whatever a file names. This one interprets the instructions itself: it builds numbers,
strings, lists, tuples, dicts and numpy arrays of numbers or of such objects, and refuses every other global name. It
allocates no more than the file holds: sizes are checked against the bytes that are there. Pickles of numpy 1 and 2
and of Python 2 (protocol 2) and 3 (protocols 0 to 5) differ in a few names, all of which are known here.

There is no checksum in a pickle. A changed byte inside a number cannot be noticed unless something contradicts it.
"""

import math
import pickletools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from macaw_jax.data.formats.files import read_bytes, short
from macaw_jax.data.manifest import DatasetError

_MAX_DEPTH = 32  # containers within containers
_MAX_AXES = 32
_DTYPES = frozenset(("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "b1", "O", "O4", "O8"))
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_NUMBERS = ("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT")
_BYTES = ("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8")
_STRINGS = ("STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8")
_VALUES = frozenset(_NUMBERS + _BYTES + _STRINGS)


def read_pickle(path: Path) -> Any:
  """The content of a pickle of arrays and plain containers.

  Raises:
    DatasetError: the file names anything else, is damaged, or declares more than it holds.
  """
  return unpickle(read_bytes(path), str(path))


def unpickle(data: bytes, where: str) -> Any:
  """As `read_pickle`, of bytes; `where` names them in messages."""
  machine = _Machine()
  try:
    end = machine.run(data)
    if end != len(data):
      raise _RefusedError(f"{len(data) - end} bytes after the end of the pickle")
    return _finish(machine.result, {}, 0)
  except _RefusedError as error:
    raise DatasetError(f"{where}: expected a pickle of arrays and plain containers, got {error}") from error
  # Damaged instructions fail in as many ways as there are instructions; for the reader they are one thing.
  except Exception as error:
    raise DatasetError(f"{where}: expected a pickle of arrays and plain containers, got {short(error)}") from error


class _RefusedError(Exception):
  """What was found and is not allowed."""


class _Mark:
  """Where a run of items begins on the stack."""


class _Global:
  """A name that is allowed, and what is done when it is called."""

  def __init__(self, call: Callable[..., Any]):
    self.call = call


class _Dtype:
  """A numeric or object type; its byte order follows as a state."""

  def __init__(self, code: Any, align: Any = False, copy: Any = True):
    del align, copy
    code = code.decode("ascii") if isinstance(code, bytes) else code
    # A leading byte order stands where the type was made from a string by hand.
    match = re.fullmatch(r"([<>|=]?)(\w+)", code) if isinstance(code, str) else None
    if match is None or match[2] not in _DTYPES:
      raise _RefusedError(f"the array type {str(code)[:40]!r}; expected numbers, booleans or objects")
    self.dtype = np.dtype(object if match[2][0] == "O" else match[1] + match[2])

  def set_state(self, state: Any) -> None:
    if not isinstance(state, tuple) or len(state) < 2 or state[1] not in ("<", ">", "|", "="):
      raise _RefusedError(f"the type state {str(state)[:40]!r}")
    if any(part is not None for part in state[2:5]):
      raise _RefusedError("an array of structures")
    if state[1] in "<>":
      self.dtype = self.dtype.newbyteorder(state[1])


class _Array:
  """An array whose state follows."""

  value: np.ndarray | None = None

  def set_state(self, state: Any) -> None:
    if not isinstance(state, tuple) or len(state) != 5 or not isinstance(state[2], _Dtype):
      raise _RefusedError("an array without shape, type and data")
    _, shape, kind, fortran, data = state
    order = "F" if fortran else "C"
    if kind.dtype == object:
      if not isinstance(data, list) or len(data) != _count(shape):
        raise _RefusedError(f"{len(data) if isinstance(data, list) else 'no'} objects for the shape {shape}")
      self.value = np.empty(len(data), object)
      for position, item in enumerate(data):
        self.value[position] = item
      self.value = self.value.reshape(shape, order=order)  # type: ignore[call-overload]
    else:
      self.value = _numbers(data, kind, shape, order)


def _count(shape: Any) -> int:
  if not isinstance(shape, tuple) or len(shape) > _MAX_AXES:
    raise _RefusedError(f"the shape {str(shape)[:40]}")
  if not all(type(length) is int and 0 <= length < 1 << 48 for length in shape):
    raise _RefusedError(f"the shape {str(shape)[:40]}")
  return math.prod(shape)


def _numbers(data: Any, kind: Any, shape: Any, order: Any) -> np.ndarray:
  """An array of numbers from its bytes (a string of Latin-1 in pickles of Python 2)."""
  data = data.encode("latin-1") if isinstance(data, str) else data
  if not isinstance(kind, _Dtype) or kind.dtype == object or not isinstance(data, bytes) or order not in ("C", "F"):
    raise _RefusedError("an array without shape, type and data")
  expected = _count(shape) * kind.dtype.itemsize
  if len(data) != expected:
    raise _RefusedError(f"{len(data)} bytes for shape {shape} of {kind.dtype}, which needs {expected}")
  if kind.dtype == np.bool_ and max(data, default=0) > 1:
    raise _RefusedError("booleans other than 0 and 1")
  return np.frombuffer(data, kind.dtype).reshape(shape, order=order)


def _reconstruct(subtype: Any, shape: Any, code: Any) -> _Array:
  del shape, code  # Placeholders: the state has the real ones.
  if subtype is not _NDARRAY:
    raise _RefusedError("an array of a class other than numpy.ndarray")
  return _Array()


def _from_buffer(data: Any, kind: Any, shape: Any, order: Any) -> _Array:
  array = _Array()
  array.value = _numbers(data, kind, shape, order)
  return array


def _scalar(kind: Any, data: Any) -> Any:
  return _numbers(data, kind, (), "C")[()]


def _encode(text: Any, encoding: Any) -> bytes:
  """How pickles of Python 3 in protocols before 3 write bytes."""
  if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
    raise _RefusedError(f"text in the encoding {str(encoding)[:40]!r}")
  return text.encode("latin-1")


def _no_bytes(*arguments: Any) -> bytes:
  """How those pickles write bytes of length zero."""
  if arguments:
    raise _RefusedError("bytes made of something else")
  return b""


def _mapping(pairs: Any = ()) -> dict[Any, Any]:
  result: dict[Any, Any] = {}
  for pair in pairs:
    if not isinstance(pair, list | tuple) or len(pair) != 2:
      raise _RefusedError("a dict that is not made of pairs")
    _set_item(result, pair[0], pair[1])
  return result


def _not_called(*arguments: Any) -> Any:
  del arguments
  raise _RefusedError("a call of numpy.ndarray")


_NDARRAY = _Global(_not_called)
_GLOBALS: dict[tuple[str, str], _Global] = {
  ("numpy", "ndarray"): _NDARRAY,
  ("numpy", "dtype"): _Global(_Dtype),
  ("collections", "OrderedDict"): _Global(_mapping),
  ("_codecs", "encode"): _Global(_encode),
  ("__builtin__", "bytes"): _Global(_no_bytes),
  ("builtins", "bytes"): _Global(_no_bytes),
}
for _core in ("numpy.core", "numpy._core"):
  _GLOBALS[_core + ".multiarray", "_reconstruct"] = _Global(_reconstruct)
  _GLOBALS[_core + ".multiarray", "scalar"] = _Global(_scalar)
  _GLOBALS[_core + ".numeric", "_frombuffer"] = _Global(_from_buffer)


def _set_item(target: Any, key: Any, value: Any) -> None:
  if not isinstance(target, dict):
    raise _RefusedError("an item for something that is not a dict")
  key = key.item() if isinstance(key, np.generic) else key
  if not isinstance(key, str | bytes | int | float | bool | None):
    raise _RefusedError(f"a dict key of type {type(key).__name__}")
  if key in target:
    raise _RefusedError(f"a dict with the key {str(key)[:40]!r} twice")
  target[key] = value


class _Machine:
  """The stack, the memory and the result of a pickle."""

  def __init__(self) -> None:
    self.stack: list[Any] = []
    self.memory: dict[int, Any] = {}
    self.result: Any = None

  def run(self, data: bytes) -> int:
    """Executes all instructions and returns the position after the last."""
    for instruction, argument, position in pickletools.genops(data):
      assert position is not None
      name = instruction.name
      if name == "STOP":
        self.result = self.stack.pop()
        if self.stack:
          raise _RefusedError(f"{len(self.stack)} objects left over")
        return position + 1
      self.execute(name, argument)
    raise _RefusedError("no end")

  def execute(self, name: str, argument: Any) -> None:
    stack = self.stack
    if name in _VALUES:
      stack.append(bytes(argument) if isinstance(argument, bytearray) else argument)
    elif name in _CONSTANTS:
      stack.append(_CONSTANTS[name])
    elif name in ("PROTO", "FRAME", "READONLY_BUFFER"):
      pass  # The bytes of a frame follow all the same; a buffer is never written to.
    elif name in ("MEMOIZE", "PUT", "BINPUT", "LONG_BINPUT"):
      self.memory[len(self.memory) if argument is None else argument] = stack[-1]
    elif name in ("GET", "BINGET", "LONG_BINGET"):
      stack.append(self.memory[argument])
    elif name == "MARK":
      stack.append(_Mark())
    elif name == "POP":
      stack.pop()
    elif name == "POP_MARK":
      self.items()
    elif name in ("EMPTY_LIST", "EMPTY_DICT", "EMPTY_TUPLE"):
      stack.append({"EMPTY_LIST": list, "EMPTY_DICT": dict, "EMPTY_TUPLE": tuple}[name]())
    elif name in ("LIST", "TUPLE"):
      items = self.items()
      stack.append(items if name == "LIST" else tuple(items))
    elif name == "DICT":
      items = self.items()
      stack.append(_mapping(zip(items[::2], items[1::2], strict=True)))
    elif name in ("TUPLE1", "TUPLE2", "TUPLE3"):
      stack.append(tuple([stack.pop() for _ in range(int(name[-1]))][::-1]))
    elif name in ("APPEND", "APPENDS"):
      items = [stack.pop()] if name == "APPEND" else self.items()
      if type(stack[-1]) is not list:
        raise _RefusedError("an item for something that is not a list")
      stack[-1].extend(items)
    elif name in ("SETITEM", "SETITEMS"):
      items = [stack.pop() for _ in range(2)][::-1] if name == "SETITEM" else self.items()
      for key, value in zip(items[::2], items[1::2], strict=True):
        _set_item(stack[-1], key, value)
    elif name in ("GLOBAL", "STACK_GLOBAL"):
      self.name(argument)
    elif name == "REDUCE":
      arguments, called = stack.pop(), stack.pop()
      if not isinstance(called, _Global) or not isinstance(arguments, tuple):
        raise _RefusedError("a call of something that is not a function")
      stack.append(called.call(*arguments))
    elif name == "BUILD":
      state = stack.pop()
      if not isinstance(stack[-1], _Array | _Dtype):
        raise _RefusedError(f"a state for an object of type {type(stack[-1]).__name__}")
      stack[-1].set_state(state)
    else:
      raise _RefusedError(f"the forbidden instruction {name}")

  def items(self) -> list[Any]:
    """What lies above the last mark, which goes too."""
    position = len(self.stack) - 1
    while not isinstance(self.stack[position], _Mark):
      position -= 1
      if position < 0:
        raise _RefusedError("items without a beginning")
    items = self.stack[position + 1 :]
    del self.stack[position:]
    return items

  def name(self, argument: str | None) -> None:
    if argument is None:
      name, module = self.stack.pop(), self.stack.pop()
    else:
      module, _, name = argument.partition(" ")
    # A tuple of strings and nothing else: it is looked up in a dict.
    if not isinstance(module, str) or not isinstance(name, str) or (module, name) not in _GLOBALS:
      raise _RefusedError(f"the forbidden name {f'{module}.{name}'[:80]!r}")
    self.stack.append(_GLOBALS[module, name])


def _finish(value: Any, done: dict[int, Any], depth: int) -> Any:
  """The value with arrays in the place of `_Array`. What is shared stays shared, so nothing grows."""
  if depth > _MAX_DEPTH:
    raise _RefusedError(f"more than {_MAX_DEPTH} containers within each other")
  if isinstance(value, _Dtype | _Global | _Mark):
    raise _RefusedError("a type or a function as data")
  if not isinstance(value, list | tuple | dict | _Array):
    return value
  if id(value) in done:
    if done[id(value)] is _UNFINISHED:
      raise _RefusedError("a container that contains itself")
    return done[id(value)]
  done[id(value)] = _UNFINISHED
  result: Any
  if isinstance(value, _Array):
    if value.value is None:
      raise _RefusedError("an array without data")
    result = value.value
    if result.dtype == object:
      result = np.empty(value.value.shape, object)
      for index, item in np.ndenumerate(value.value):
        result[index] = _finish(item, done, depth + 1)
  elif isinstance(value, dict):
    result = {key: _finish(item, done, depth + 1) for key, item in value.items()}
  else:
    result = type(value)([_finish(item, done, depth + 1) for item in value])
  done[id(value)] = result
  return result


_UNFINISHED = object()
