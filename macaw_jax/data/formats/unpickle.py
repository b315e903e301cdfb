"""Pickles of arrays and plain containers, and of nothing else.

The standard unpickler calls whatever a file names. Here every name is looked up in a table of eight functions, which
check what they are given and are not numpy's own; every instruction is one of a list. That builds numbers, strings,
lists, tuples, dicts and numpy arrays of numbers or of such objects. Sizes are checked against the bytes that are there,
so that no more is allocated than the file holds. Pickles of numpy 1 and 2 and of Python 2 (protocol 2) and 3 (protocols
0 to 5) differ in a few names, all of which are known here.

The unpickler that is narrowed down is the standard library's in Python. Its twin in C allocates gigabytes for a file
of a few bytes that names a large position of its memo, and hashes the keys of a dict before anyone can look at them, so
that a tuple nested often enough overflows the stack.

There is no checksum in a pickle. A changed byte inside a number cannot be noticed unless something contradicts it.
"""

import io
import math
import pickle
import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from macaw_jax.data.formats.files import read_bytes, short
from macaw_jax.data.manifest import DatasetError

_MAX_DEPTH = 32  # containers within containers
_PLAIN = (bool, int, float, str, bytes, type(None), np.generic)
_DTYPES = frozenset(("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "b1", "O", "O4", "O8"))
_INSTRUCTIONS = (
  *("PROTO", "FRAME", "STOP", "MARK", "POP", "POP_MARK", "GLOBAL", "STACK_GLOBAL", "REDUCE", "BUILD"),
  *("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE", "GET", "BINGET", "LONG_BINGET", "NONE", "NEWTRUE", "NEWFALSE"),
  *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
  *("STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
  *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8", "EMPTY_LIST", "LIST", "APPEND", "APPENDS"),
  *("EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "EMPTY_DICT", "DICT", "SETITEM", "SETITEMS"),
)


def read_pickle(path: Path) -> Any:
  """The content of a pickle of arrays and plain containers.

  Raises:
    DatasetError: the file names anything else, is damaged, or declares more than it holds.
  """
  return unpickle(read_bytes(path), str(path))


def unpickle(data: bytes, where: str) -> Any:
  """As `read_pickle`, of bytes; `where` names them in messages."""
  unpickler = _Unpickler(io.BytesIO(data), encoding="latin-1")
  try:
    result = unpickler.load()
    unpickler.check_end()
    return _finish(result, {})
  except _RefusedError as error:
    raise DatasetError(f"{where}: expected a pickle of arrays and plain containers, got {error}") from error
  # Damaged instructions fail in as many ways as there are instructions; for the reader they are one thing.
  except Exception as error:
    raise DatasetError(f"{where}: expected a pickle of arrays and plain containers, got {short(error)}") from error


class _RefusedError(Exception):
  """Something that was found and is not allowed."""


class _Dtype:
  """A numeric or object type; its byte order follows as a state."""

  def __init__(self, code: Any, *_: Any):
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

  def __init__(self, value: np.ndarray | None = None):
    self.value = value

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
  holds = isinstance(shape, tuple) and len(shape) <= 32
  if not holds or not all(type(length) is int and 0 <= length < 1 << 48 for length in shape):
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


def _reconstruct(subtype: Any, *_: Any) -> _Array:
  """An array whose shape and type follow with its state: those that stand here are placeholders."""
  if subtype is not _not_called:
    raise _RefusedError("an array of a class other than numpy.ndarray")
  return _Array()


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


def _not_called(*_: Any) -> Any:
  raise _RefusedError("a call of numpy.ndarray")


_GLOBALS: dict[tuple[str, str], Callable[..., Any]] = {
  ("numpy", "ndarray"): _not_called,
  ("numpy", "dtype"): _Dtype,
  ("collections", "OrderedDict"): _mapping,
  ("_codecs", "encode"): _encode,
  ("__builtin__", "bytes"): _no_bytes,
  ("builtins", "bytes"): _no_bytes,
}
for _core in ("numpy.core", "numpy._core"):
  _GLOBALS[_core + ".multiarray", "_reconstruct"] = _reconstruct
  _GLOBALS[_core + ".multiarray", "scalar"] = lambda kind, data: _numbers(data, kind, (), "C")[()]
  _GLOBALS[_core + ".numeric", "_frombuffer"] = lambda *arguments: _Array(_numbers(*arguments))


def _set_item(target: Any, key: Any, value: Any) -> None:
  if not isinstance(target, dict):
    raise _RefusedError("an item for something that is not a dict")
  key = key.item() if isinstance(key, np.generic) else key
  if not isinstance(key, str | bytes | int | float | bool | None):
    raise _RefusedError(f"a dict key of type {type(key).__name__}")
  if key in target:
    raise _RefusedError(f"a dict with the key {str(key)[:40]!r} twice")
  target[key] = value


_Standard: Any = pickle._Unpickler


class _Unpickler(_Standard):
  """The standard unpickler with fewer instructions, of which some are stricter."""

  def find_class(self, module: str, name: str) -> Callable[..., Any]:
    if (module, name) not in _GLOBALS:
      raise _RefusedError(f"the forbidden name {f'{module}.{name}'[:80]!r}")
    return _GLOBALS[module, name]

  def check_end(self) -> None:
    """Raises unless what was loaded is all that there was."""
    if self.stack or self.metastack:
      raise _RefusedError("objects that are left over")
    if self.read(1):
      raise _RefusedError("bytes after the end of the pickle")

  def load_build(self) -> None:
    state = self.stack.pop()
    if not isinstance(self.stack[-1], _Array | _Dtype):
      raise _RefusedError(f"a state for an object of type {type(self.stack[-1]).__name__}")
    self.stack[-1].set_state(state)

  def load_bytearray8(self) -> None:
    (size,) = struct.unpack("<Q", self.read(8))
    self.append(self.read(size))

  def load_setitem(self) -> None:
    value, key = self.stack.pop(), self.stack.pop()
    _set_item(self.stack[-1], key, value)

  def load_setitems(self) -> None:
    items = self.pop_mark()
    for key, value in zip(items[::2], items[1::2], strict=True):
      _set_item(self.stack[-1], key, value)

  def load_dict(self) -> None:
    items = self.pop_mark()
    self.append(_mapping(zip(items[::2], items[1::2], strict=True)))

  dispatch: ClassVar[dict[int, Callable[..., None]]] = {
    **{code: _Standard.dispatch[code] for code in (getattr(pickle, name)[0] for name in _INSTRUCTIONS)},
    pickle.BUILD[0]: load_build,
    pickle.BYTEARRAY8[0]: load_bytearray8,
    pickle.SETITEM[0]: load_setitem,
    pickle.SETITEMS[0]: load_setitems,
    pickle.DICT[0]: load_dict,
  }


def _finish(value: Any, done: dict[int, Any], depth: int = 0) -> Any:
  """The value with arrays in the place of `_Array`. What is shared stays shared, so nothing grows."""
  if isinstance(value, _PLAIN):
    return value
  if not isinstance(value, list | tuple | dict | _Array):
    raise _RefusedError("a type or a function as data")
  if depth > _MAX_DEPTH:  # Or infinitely many: a container that contains itself.
    raise _RefusedError(f"more than {_MAX_DEPTH} containers within each other")
  if id(value) not in done:
    if isinstance(value, _Array):
      if value.value is None:
        raise _RefusedError("an array without data")
      if value.value.dtype == object:
        for index, item in np.ndenumerate(value.value):
          value.value[index] = _finish(item, done, depth + 1)
      done[id(value)] = value.value
    elif isinstance(value, dict):
      done[id(value)] = {key: _finish(item, done, depth + 1) for key, item in value.items()}
    else:
      done[id(value)] = type(value)([_finish(item, done, depth + 1) for item in value])
  return done[id(value)]
