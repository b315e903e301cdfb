import builtins
import collections
import os
import pickle
import struct

import numpy as np
import pytest

from macaw_jax.data.formats.unpickle import read_pickle, unpickle
from macaw_jax.data.manifest import DatasetError


def assert_equal(found, expected):
  assert type(found) is type(expected)
  if isinstance(expected, np.ndarray):
    assert (found.shape, found.dtype) == (expected.shape, expected.dtype)
    if expected.dtype == object:
      for one, other in zip(found.flat, expected.flat, strict=True):
        assert_equal(one, other)
    else:
      np.testing.assert_array_equal(found, expected)
  elif isinstance(expected, dict):
    assert list(found) == list(expected)
    for key in expected:
      assert_equal(found[key], expected[key])
  elif isinstance(expected, list | tuple):
    for one, other in zip(found, expected, strict=True):
      assert_equal(one, other)
  else:
    assert found == expected


def objects():
  array = np.empty((2, 2), object)
  array[0] = [np.arange(3.0), np.float32(2.5)]
  array[1] = [[1, "two"], None]
  return array


VALUES = {
  "plain": {"a": 1, "b": [1, -2.5, ("x", b"yz", b"", 2**70)], 3: None, True: False, "é": ""},
  "floats": np.arange(12.0).reshape(3, 4),
  "columns": np.asfortranarray(np.arange(12, dtype=np.float32).reshape(3, 4)),
  "big-endian": np.arange(3, dtype=">f8"),
  "booleans": np.array([True, False]),
  "integers": np.arange(4, dtype=np.uint8),
  "empty": np.zeros((0, 3)),
  "no axis": np.array(2.0),
  "scalars": [np.float32(1.5), np.int64(3), np.bool_(True)],
  "objects": objects(),
  "shared": [np.arange(2.0)] * 3,
}


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("name", VALUES)
def test_arrays_and_plain_containers_are_read(name, protocol):
  assert_equal(unpickle(pickle.dumps(VALUES[name], protocol), "here"), VALUES[name])


def test_an_ordered_dict_is_read_as_a_dict():
  for protocol in range(6):
    found = unpickle(pickle.dumps(collections.OrderedDict(b=1, a=2), protocol), "here")
    assert type(found) is dict
    assert list(found.items()) == [("b", 1), ("a", 2)]


def test_names_of_numpy_1_and_of_python_2_are_known():
  # Python 2 stored the bytes of an array as a string.
  old = (
    b"\x80\x02cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85U\x01btR"
    b"(K\x01K\x02\x85cnumpy\ndtype\n(U\x02f4K\x00K\x01tR(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89"
    b"U\x08\x00\x00\x80\x3f\x00\x00\x00\x40tb."
  )
  assert_equal(unpickle(old, "here"), np.array([1, 2], np.float32))


class Calls:
  def __init__(self, function, *arguments):
    self.call = function, arguments

  def __reduce__(self):
    return self.call


class Plain:
  pass


class Subclass(np.ndarray):
  pass


def hostile(tmp_path):
  marker = tmp_path / "executed"
  return {
    "os.system": pickle.dumps(Calls(os.system, f"touch {marker}")),
    "eval": pickle.dumps(Calls(eval, f"open({str(marker)!r}, 'w')")),
    "exec": pickle.dumps(Calls(exec, f"open({str(marker)!r}, 'w')")),
    "getattr": pickle.dumps(Calls(getattr, "", "upper")),
    "import": pickle.dumps(Calls(builtins.__import__, "os")),
    "open": pickle.dumps(Calls(open, str(marker), "w")),
    "within an array": pickle.dumps(np.array([Calls(os.system, f"touch {marker}")], object)),
    "within a dict": pickle.dumps({"observations": Calls(os.system, f"touch {marker}")}),
    "numpy.load": pickle.dumps(Calls(np.load, str(marker))),
    "numpy.save": pickle.dumps(Calls(np.save, str(marker), 1)),
    "numpy.fromfile": pickle.dumps(Calls(np.fromfile, "/etc/hostname")),
    "numpy.memmap": pickle.dumps(Calls(np.memmap, str(marker), "u1", "w+")),
    "numpy.ndarray called": pickle.dumps(Calls(np.ndarray, (10**12,))),
    "array of a subclass": pickle.dumps(np.zeros(2).view(Subclass)),
    "masked array": pickle.dumps(np.ma.zeros(2)),
    "array of structures": pickle.dumps(np.zeros(2, [("a", "f4")])),
    "strings": pickle.dumps(np.array(["a"])),
    "dates": pickle.dumps(np.array(["2020-01-01"], "M8[D]")),
    "type as data": pickle.dumps([np.dtype("f4")]),
    "class as data": pickle.dumps([np.ndarray]),
    "function as data": b"cnumpy.core.multiarray\nscalar\n.",
    "instance": pickle.dumps(Plain()),
    "instance of old": pickle.dumps(Plain(), 0),
    "set": pickle.dumps({1, 2}),
    "complex": pickle.dumps(1j),
    "dotted name": b"\x80\x04\x8c\x05numpy\x8c\x0eload.__class__\x93.",
    "a dotted name of something allowed": b"\x80\x04\x8c\x05numpy\x8c\x10ndarray.__init__\x93.",
    "name of a number": b"\x80\x04K\x01K\x02\x93.",
    "instruction INST": b"(ios\nsystem\n.",
    "instruction OBJ": b"(cos\nsystem\no.",
    "instruction NEWOBJ": b"cnumpy\nndarray\n)\x81.",
    "instruction EXT1": b"\x82\x01.",
    "persistent id": b"Pabc\n.",
    "state for a list": b"](K\x01K\x02tb.",
    "state for a dict": b"}}b.",
    "state for a function": b"cnumpy.core.multiarray\nscalar\n}S'__name__'\nS'other'\nsb.",
    "attributes of a function": b"cnumpy\ndtype\nN}S'__defaults__'\nNs\x86b.",
    "call of a number": b"K\x01)R.",
    "arguments that are no tuple": b"cnumpy\ndtype\nK\x01R.",
    "item appended to a dict": b"}K\x01a.",
    "items appended to bytes": b"\x80\x05\x96\x01\x00\x00\x00\x00\x00\x00\x00ab.".replace(b"b.", b"(K\x01e."),
    "item of a list": b"]K\x00K\x01s.",
    "bytes of any size": b"cbuiltins\nbytes\nJ\xff\xff\xff\x7f\x85R.",
    "text in any encoding": b"c_codecs\nencode\nX\x01\x00\x00\x00aX\x03\x00\x00\x00hex\x86R.",
    "buffer out of band": b"\x80\x05\x97.",
  }


def test_nothing_else_is_read_and_nothing_executed(tmp_path):
  for name, data in hostile(tmp_path).items():
    with pytest.raises(DatasetError, match=f"^{name}: expected a pickle of arrays and plain containers, got "):
      unpickle(data, name)
  assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize(
  ("data", "message"),
  [
    (pickle.dumps(Calls(os.system, "true")), r"the forbidden name '(posix|nt)\.system'"),
    (pickle.dumps(Calls(eval, "1")), r"the forbidden name 'builtins\.eval'"),
    (pickle.dumps(Plain()), r"the forbidden name '.*\.Plain'"),
  ],
)
def test_the_error_names_what_is_forbidden(data, message):
  with pytest.raises(DatasetError, match=message):
    unpickle(data, "here")


def nested(depth):
  return b"(" * depth + b"t" * depth + b"."


HUGE = 1 << 60


@pytest.mark.parametrize(
  "data",
  [
    b"\x80\x04\x8e" + struct.pack("<Q", HUGE) + b"ab.",  # bytes that are not there
    b"\x80\x04\x8d" + struct.pack("<Q", HUGE) + b"ab.",  # text that is not there
    b"\x80\x05\x96" + struct.pack("<Q", HUGE) + b"ab.",  # a buffer that is not there
    b"\x80\x02\x8b" + struct.pack("<i", (1 << 31) - 1) + b"ab.",  # a number that is not there
    b"\x80\x02\x8b" + struct.pack("<i", -1) + b"ab.",  # a number of negative length
    b"\x80\x04\x95" + struct.pack("<Q", HUGE) + b"ab.",  # a frame that is not there
    b"I" + b"9" * 100_000 + b"\n.",  # a number with too many digits
    pickle.dumps(np.zeros(3), 2).replace(b"K\x03\x85", b"J\xff\xff\xff\x7f\x85"),  # a shape without data
    pickle.dumps(np.zeros(3), 2).replace(b"K\x03\x85", b"J\xff\xff\xff\xff\x85"),  # a negative shape
    pickle.dumps(np.array([None] * 3, object), 2).replace(b"K\x03\x85", b"K\x04\x85"),  # an object too few
    b"(cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntRl.",  # an array without data
    nested(1000),  # containers within containers
    nested(200_000),
    b"})" + b"\x85" * 3_000_000 + b"K\x01s.",  # nested tuples as a key: to hash them overflows the stack
    b"]q\x00h\x00a.",  # a list that contains itself
    b"(dp0\nS'a'\ng0\ns.",  # a dict that contains itself
    b"}K\x01K\x02sK\x01K\x03s.",  # a key twice
    b"}(K\x01u.",  # a key without a value
    b"}]K\x01s.",  # a list as a key
    b"K\x01K\x02.",  # two results
    b".",
    b"",
    b"K\x01",
    b"K\x01.K\x02.",  # something after the end
    b"K\x01h\x07.",  # a memory that was never written
    b"t.",
    b"0.",
    b"a.",
    b"\x85.",
    b"R.",
    b"b.",
    b"K\x01a.",
    b"\xff\xfe",
  ],
)
def test_damaged_and_oversized_pickles_are_errors(data):
  with pytest.raises(DatasetError, match=r"^here: expected a pickle"):
    unpickle(data, "here")


def test_memory_positions_are_not_allocated():
  # The standard unpickler makes a table of this length.
  assert unpickle(b"K\x01r\xff\xff\xff\xff.", "here") == 1


def test_what_is_shared_stays_shared():
  lists: list = [1]
  for _ in range(30):
    lists = [lists, lists]  # Written out, these are 2^30 lists.
  found = unpickle(pickle.dumps(lists), "here")
  for _ in range(30):
    assert found[0] is found[1]
    found = found[0]
  assert found == [1]


def test_every_truncation_is_an_error():
  data = pickle.dumps(VALUES["objects"])
  for length in range(len(data)):
    with pytest.raises(DatasetError):
      unpickle(data[:length], "here")


def test_no_changed_byte_raises_anything_else():
  rng = np.random.default_rng(0)
  data = pickle.dumps({"observations": VALUES["floats"], "objects": VALUES["objects"]})
  refused = 0
  for position in range(len(data)):
    changed = bytearray(data)
    changed[position] ^= 1 << int(rng.integers(8))
    try:
      unpickle(bytes(changed), "here")
    except DatasetError:
      refused += 1
  assert refused > 50


def test_a_file_that_is_not_there_is_an_error(tmp_path):
  with pytest.raises(DatasetError, match=r"none\.pkl: cannot be read"):
    read_pickle(tmp_path / "none.pkl")
