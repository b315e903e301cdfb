import numpy as np
import pytest

from macaw_jax.data.formats.hdf5 import open_hdf5, write_hdf5
from macaw_jax.data.manifest import DatasetError

h5py = pytest.importorskip("h5py")
ARRAYS = {
  "numbers": np.arange(24, dtype=np.float32).reshape(8, 3),
  "group/flags": np.array([True, False, True]),
  "scalar": np.array(0.99),
}
ATTRIBUTES = {"": {"discount": 0.5, "task_parameters": '{"speed": [1, 2.5]}'}, "group": {"id": 3}}


@pytest.fixture
def path(tmp_path):
  write_hdf5(tmp_path / "file.hdf5", ARRAYS, ATTRIBUTES, compression="lzf")
  return tmp_path / "file.hdf5"


@pytest.fixture
def other(tmp_path):
  """A file of another writer."""
  with h5py.File(tmp_path / "other.hdf5", "w") as file:
    file["numbers"] = ARRAYS["numbers"]
  return tmp_path / "other.hdf5"


def array_of(path, key="numbers"):
  with open_hdf5(path) as file:
    return file.array(key)


def test_what_is_written_is_read(path):
  with open_hdf5(path) as file:
    for key, expected in ARRAYS.items():
      found = file.array(key)
      assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
      np.testing.assert_array_equal(found, expected)
    assert sorted(file.keys()) == ["group", "numbers", "scalar"]
    assert file.parameters() == {"speed": [1, 2.5]}
    assert file.number("discount") == 0.5
    assert file.attribute("id", "group") == 3
    assert file.attribute("nothing") is None
    assert file.has("group/flags")
    assert not file.has("group/nothing")


def test_every_changed_byte_is_noticed_or_changes_nothing(path):
  content = path.read_bytes()
  rng = np.random.default_rng(0)
  noticed = 0
  for position in rng.permutation(len(content))[:500]:
    changed = bytearray(content)
    changed[position] ^= 1 << int(rng.integers(8))
    path.write_bytes(changed)
    try:
      with open_hdf5(path) as file:
        for key, expected in ARRAYS.items():
          np.testing.assert_array_equal(file.array(key), expected)
        assert file.parameters() == {"speed": [1, 2.5]}
        assert (file.number("discount"), file.attribute("id", "group")) == (0.5, 3)
    except DatasetError:
      noticed += 1
  assert noticed > 200


@pytest.mark.parametrize(
  "edit",
  [
    lambda file: file["numbers"].__setitem__((2, 1), 8.0),
    lambda file: file.move("numbers", "number"),
    lambda file: file.__delitem__("scalar"),
    lambda file: file.create_dataset("more", data=[1]),
    lambda file: file["group"].attrs.__setitem__("id", 4),
    lambda file: file.attrs.__setitem__("discount", 0.6),
  ],
)
def test_what_another_program_changes_is_noticed(path, edit):
  with h5py.File(path, "a") as file:
    edit(file)
  with pytest.raises(DatasetError, match=r"file\.hdf5: key '@content_sha256': .*content changed after it was written"):
    array_of(path)


def test_a_truncated_file_is_an_error(path):
  content = path.read_bytes()
  for length in range(0, len(content), 37):
    path.write_bytes(content[:length])
    with pytest.raises(DatasetError, match=r"file\.hdf5: expected an HDF5 file"):
      array_of(path)


def test_a_missing_file_and_another_file_are_errors(tmp_path):
  with pytest.raises(DatasetError, match=r"none\.hdf5: expected an HDF5 file"):
    array_of(tmp_path / "none.hdf5")
  (tmp_path / "text.hdf5").write_text("observations")
  with pytest.raises(DatasetError, match=r"text\.hdf5: expected an HDF5 file"):
    array_of(tmp_path / "text.hdf5")


# Files that read other files.


@pytest.mark.parametrize(
  ("link", "kind"),
  [
    (lambda: h5py.ExternalLink("secret.hdf5", "/numbers"), "ExternalLink"),
    (lambda: h5py.ExternalLink("nowhere.hdf5", "/numbers"), "ExternalLink"),
    (lambda: h5py.SoftLink("/elsewhere"), "SoftLink"),
    (lambda: h5py.SoftLink("/nowhere"), "SoftLink"),
  ],
)
def test_links_are_errors(tmp_path, link, kind):
  with h5py.File(tmp_path / "secret.hdf5", "w") as file:
    file["numbers"] = ARRAYS["numbers"]
  with h5py.File(tmp_path / "linked.hdf5", "w") as file:
    file["elsewhere"] = ARRAYS["numbers"]
    file["numbers"] = link()
  with pytest.raises(DatasetError, match=rf"key 'numbers': expected data in this file itself, got a link \({kind}\)"):
    array_of(tmp_path / "linked.hdf5")


def test_a_group_behind_an_external_link_is_an_error(tmp_path):
  with h5py.File(tmp_path / "secret.hdf5", "w") as file:
    file["group/numbers"] = ARRAYS["numbers"]
  with h5py.File(tmp_path / "linked.hdf5", "w") as file:
    file["group"] = h5py.ExternalLink("secret.hdf5", "/group")
  with pytest.raises(DatasetError, match="key 'group': expected data in this file itself"):
    array_of(tmp_path / "linked.hdf5", "group/numbers")


def test_external_storage_is_an_error(tmp_path):
  (tmp_path / "secret.bin").write_bytes(ARRAYS["numbers"].tobytes())
  with h5py.File(tmp_path / "file.hdf5", "w") as file:
    file.create_dataset("numbers", (8, 3), "f4", external=[(str(tmp_path / "secret.bin"), 0, 96)])
  with pytest.raises(DatasetError, match=r"key 'numbers': .*a dataset whose data lie in other files"):
    array_of(tmp_path / "file.hdf5")


def test_a_virtual_dataset_is_an_error(tmp_path, other):
  layout = h5py.VirtualLayout((8, 3), "f4")
  layout[:] = h5py.VirtualSource(str(other), "numbers", (8, 3))
  with h5py.File(tmp_path / "file.hdf5", "w") as file:
    file.create_virtual_dataset("numbers", layout)
  with pytest.raises(DatasetError, match=r"key 'numbers': .*a dataset whose data lie in other files"):
    array_of(tmp_path / "file.hdf5")


# Files that declare more than they hold.


@pytest.mark.parametrize(
  "options",
  [
    {"chunks": (1000, 3)},
    {"chunks": (10**6, 3), "compression": "gzip"},
    {},
    {"chunks": (1000, 3), "fillvalue": 1.0},
  ],
)
def test_a_declared_size_far_beyond_the_file_is_an_error(tmp_path, options):
  with h5py.File(tmp_path / "file.hdf5", "w") as file:
    file.create_dataset("numbers", (10**11, 3), "f4", **options)
  with pytest.raises(DatasetError, match=r"key 'numbers': expected at most [0-9]+ bytes in a file of"):
    array_of(tmp_path / "file.hdf5")


@pytest.mark.parametrize("options", [{"chunks": (4, 3)}, {"chunks": (4, 3), "compression": "lzf"}])
def test_chunks_that_were_never_written_are_an_error(tmp_path, options):
  with h5py.File(tmp_path / "file.hdf5", "w") as file:
    file.create_dataset("numbers", (8, 3), "f4", **options)[:4] = 1.0
  with pytest.raises(DatasetError, match=r"key 'numbers': expected 2 chunks for the shape \(8, 3\), got 1"):
    array_of(tmp_path / "file.hdf5")


def test_data_that_were_never_written_are_an_error(tmp_path):
  with h5py.File(tmp_path / "file.hdf5", "w") as file:
    file.create_dataset("numbers", (8, 3), "f4")
  with pytest.raises(DatasetError, match="key 'numbers': expected 96 stored bytes, got 0"):
    array_of(tmp_path / "file.hdf5")


def test_many_names_of_one_dataset_are_counted(other):
  with h5py.File(other, "a") as file:
    file.create_dataset("zeros", data=np.zeros(200_000, np.float64), chunks=(200_000,), compression="gzip")
    for name in range(30):
      file[f"name{name}"] = file["zeros"]
  with pytest.raises(DatasetError, match="expected at most"), open_hdf5(other) as file:
    file.digest()


def test_groups_that_contain_themselves_are_an_error(other):
  with h5py.File(other, "a") as file:
    file["again"] = file["/"]
    file.attrs["content_sha256"] = np.bytes_(b"0" * 64)
  with pytest.raises(DatasetError, match="expected at most 4 groups within each other"):
    array_of(other)


# Other types.


@pytest.mark.parametrize(
  "values",
  [
    np.array([b"text"]),
    np.array([(1, 2.0)], [("a", "i4"), ("b", "f4")]),
    np.array([1j]),
    h5py.Empty("f4"),
  ],
)
def test_other_types_are_errors(tmp_path, values):
  with h5py.File(tmp_path / "file.hdf5", "w") as file:
    file["numbers"] = values
  with pytest.raises(DatasetError, match="key 'numbers': expected an array of numbers"):
    array_of(tmp_path / "file.hdf5")


def test_objects_and_groups_are_errors(tmp_path):
  with h5py.File(tmp_path / "file.hdf5", "w") as file:
    file.create_dataset("numbers", (2,), h5py.vlen_dtype(np.float32))
    file.create_dataset("text", data=["a"], dtype=h5py.string_dtype())
    file.create_group("group")
  for key in ("numbers", "text"):
    with pytest.raises(DatasetError, match=f"key '{key}': expected an array of numbers"):
      array_of(tmp_path / "file.hdf5", key)
  with pytest.raises(DatasetError, match="key 'group': expected a dataset, got a group"):
    array_of(tmp_path / "file.hdf5", "group")
  with pytest.raises(DatasetError, match="key 'text/numbers': expected a group above it, got a dataset"):
    array_of(tmp_path / "file.hdf5", "text/numbers")


@pytest.mark.parametrize("value", [np.arange(3), "text of any length", np.array([b"a", b"b"])])
def test_other_attributes_are_errors(other, value):
  with h5py.File(other, "a") as file:
    file.attrs["discount"] = value
  with (
    pytest.raises(DatasetError, match=r"key '@discount': expected a number or a string of fixed length"),
    open_hdf5(other) as file,
  ):
    file.number("discount")


@pytest.mark.parametrize("value", [np.nan, np.inf, np.bytes_(b"0.5")])
def test_a_number_must_be_finite(other, value):
  with h5py.File(other, "a") as file:
    file.attrs["discount"] = value
  with pytest.raises(DatasetError, match="key '@discount': expected a finite number"), open_hdf5(other) as file:
    file.number("discount")


@pytest.mark.parametrize("text", [b"[1]", b"{", b"3", b"\xff"])
def test_other_parameters_are_an_error(other, text):
  with h5py.File(other, "a") as file:
    file.attrs["task_parameters"] = np.bytes_(text)
  with pytest.raises(DatasetError, match=r"other\.hdf5: key '@task_parameters': "), open_hdf5(other) as file:
    file.parameters()
