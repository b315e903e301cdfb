"""HDF5 files that may be damaged or hostile, and HDF5 files in which damage shows.

Reading follows hard links alone, refuses whatever would read another file or run a filter that HDF5 does not bring
along, and checks what a file declares against its size before any of it is allocated. Writing gives every dataset
Fletcher-32 checksums and uses the metadata layout of HDF5 1.10, which has checksums of its own; a SHA-256 over names,
types, shapes and values stands at the root and is checked on reading. A file of another writer has none of these:
there, a changed number that nothing contradicts cannot be noticed.
"""

import contextlib
import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from macaw_jax.data.formats.contract import ReadOptions
from macaw_jax.data.formats.files import short
from macaw_jax.data.formats.table import Source
from macaw_jax.data.manifest import DatasetError, Manifest
from macaw_jax.data.references import References, from_document, to_document

HDF5_SUFFIXES = (".hdf5", ".h5")
DIGEST_ATTRIBUTE = "content_sha256"
DISCOUNT_ATTRIBUTE = "discount"
PARAMETERS_ATTRIBUTE = "task_parameters"
REFERENCES_ATTRIBUTE = "reference_returns"

MAX_COMPRESSION = 1100  # a file may declare this many times its own size; deflate shrinks zeros by 1032
_MAX_DEPTH = 4  # groups within groups
_CHUNK_BYTES = 1 << 20
# deflate, shuffle, Fletcher-32, szip, n-bit, scale-offset, and h5py's LZF: everything else is loaded from plug-ins.
_FILTERS = frozenset((1, 2, 3, 4, 5, 6, 32000))


def import_h5py() -> ModuleType:
  """The optional package h5py. Raises `DatasetError` saying how to install it."""
  try:
    import h5py
  except ImportError as error:
    raise DatasetError('HDF5 files need the package h5py: pip install "macaw_jax[hdf5]"') from error
  return h5py


class Hdf5Reader(Source):
  """An open file; `array` gives all values of a dataset of numbers or booleans, as they are stored."""

  def __init__(self, file: Any, path: Path, options: ReadOptions | None = None):
    super().__init__(str(path), self._array, options)
    self._h5py = import_h5py()
    self._file, self._size = file, path.stat().st_size
    self._read = 0  # bytes of all arrays read so far

  def keys(self, group: str = "") -> list[str]:
    """Names in a group."""
    names = list(self._group(group))
    if not all(isinstance(name, str) for name in names):
      raise self.fault(group or "/", "names in UTF-8", names)
    return names

  def has(self, key: str) -> bool:
    """Whether a key is there."""
    group, _, name = key.rpartition("/")
    if group and not (self.has(group) and isinstance(self._object(group), self._h5py.Group)):
      return False
    return name in self.keys(group)

  def attribute(self, name: str, group: str = "") -> Any:
    """A scalar attribute as a Python number or string; None where it is not there."""
    attributes = self._group(group).attrs
    if name not in attributes:
      return None
    stored = attributes.get_id(name)
    where = f"{group}@{name}"
    if stored.shape != () or stored.dtype.kind not in "iufbS" or stored.dtype.itemsize > self._size:
      raise self.fault(where, "a number or a string of fixed length", f"{stored.dtype} of shape {stored.shape}")
    value = attributes[name]
    if not isinstance(value, bytes):
      return value.item() if isinstance(value, np.generic) else value
    try:
      return value.decode("utf-8")
    except UnicodeDecodeError as error:
      raise self.fault(where, "text in UTF-8", short(error)) from error

  def number(self, name: str, group: str = "") -> float | None:
    """A finite number that stands as an attribute; None where it is not there."""
    value = self.attribute(name, group)
    if value is None:
      return None
    if isinstance(value, str) or not math.isfinite(value):
      raise self.fault(f"{group}@{name}", "a finite number", repr(value))
    return float(value)

  def parameters(self) -> dict[str, Any]:
    """The task parameters of `common_attributes`; empty where there are none."""
    text = self.attribute(PARAMETERS_ATTRIBUTE)
    try:
      value = {} if text is None else json.loads(text)
    except (TypeError, ValueError, RecursionError) as error:
      raise self.fault(f"@{PARAMETERS_ATTRIBUTE}", "a JSON object", short(error)) from error
    if not isinstance(value, dict):
      raise self.fault(f"@{PARAMETERS_ATTRIBUTE}", "a JSON object", repr(value)[:80])
    return value

  def references(self) -> References | None:
    """The references of `common_attributes`; None where there are none."""
    text = self.attribute(REFERENCES_ATTRIBUTE)
    try:
      return None if text is None else from_document(json.loads(text))
    except (TypeError, ValueError, RecursionError) as error:
      raise self.fault(f"@{REFERENCES_ATTRIBUTE}", "returns and texts of scores 0 and 100", short(error)) from error

  def collected_at(self, key: str, episodes: int) -> np.ndarray | None:
    """The `counts` under a key; None where it is not there."""
    return self.counts(key, self.array(key), episodes) if self.has(key) else None

  def check_digest(self) -> None:
    """Raises `DatasetError` if the file has the digest of `write_hdf5` and holds something else."""
    expected = self.attribute(DIGEST_ATTRIBUTE)
    if expected is not None and expected != self.digest():
      raise self.fault(f"@{DIGEST_ATTRIBUTE}", f"content of SHA-256 {expected}", "content changed after it was written")

  def digest(self) -> str:
    """SHA-256 over all names, types, shapes, values and attributes but itself."""
    digest = hashlib.sha256()

    def add(*parts: Any) -> None:
      digest.update(repr(parts).encode())

    def visit(group: str, depth: int) -> None:
      if depth > _MAX_DEPTH:
        raise self.fault(group, f"at most {_MAX_DEPTH} groups within each other", "more")
      for name in sorted(self._group(group).attrs):
        if (group, name) != ("", DIGEST_ATTRIBUTE):
          add("attribute", group, name, self.attribute(name, group))
      for name in sorted(self.keys(group)):
        key = f"{group}/{name}" if group else name
        if isinstance(self._object(key), self._h5py.Group):
          visit(key, depth + 1)
        else:
          array = self.array(key)
          add("array", key, array.dtype.str, array.shape)
          digest.update(np.ascontiguousarray(array).tobytes())

    visit("", 0)
    return digest.hexdigest()

  def _array(self, key: str) -> np.ndarray:
    array = np.asarray(self._dataset(key)[()])
    if array.dtype.kind == "b" and array.size and np.max(np.ascontiguousarray(array).view(np.uint8)) > 1:
      raise self.fault(key, "booleans", "bytes other than 0 and 1")
    return array

  def _object(self, key: str) -> Any:
    """The object that a path of hard links leads to."""
    found = self._file
    walked = ""
    for name in key.split("/") if key else []:
      walked = f"{walked}/{name}" if walked else name
      if not isinstance(found, self._h5py.Group):
        raise self.fault(walked, "a group above it", "a dataset")
      if name not in list(found):  # `in` alone says no to a soft or external link without a target.
        raise DatasetError(f"{self.name}: key {walked!r} is missing; found {sorted(found)[:20]}")
      link = found.get(name, getlink=True)
      if not isinstance(link, self._h5py.HardLink):
        raise self.fault(walked, "data in this file itself", f"a link ({type(link).__name__})")
      found = found[name]
    return found

  def _group(self, key: str) -> Any:
    found = self._object(key)
    if not isinstance(found, self._h5py.Group):
      raise self.fault(key, "a group", type(found).__name__)
    return found

  def _dataset(self, key: str) -> Any:
    """A dataset of numbers that is stored in this file, whole, and is no larger than such a file can hold."""
    dataset = self._object(key)
    if not isinstance(dataset, self._h5py.Dataset):
      raise self.fault(key, "a dataset", f"a {type(dataset).__name__.lower()}")
    if dataset.shape is None or dataset.dtype.kind not in "fiub" or dataset.dtype.subdtype is not None:
      raise self.fault(key, "an array of numbers", f"shape {dataset.shape}, type {dataset.dtype}")
    properties = dataset.id.get_create_plist()
    layout = properties.get_layout()
    if layout == self._h5py.h5d.VIRTUAL or properties.get_external_count():
      raise self.fault(key, "data in this file itself", "a dataset whose data lie in other files")
    filters = {properties.get_filter(index)[0] for index in range(properties.get_nfilters())}
    if not filters <= _FILTERS:
      raise self.fault(key, f"filters among {sorted(_FILTERS)}", sorted(filters))
    limit = MAX_COMPRESSION * self._size
    declared = math.prod(dataset.shape) * dataset.dtype.itemsize
    # A sum over all that is read: many names may lead to one dataset.
    self._read += declared
    if self._read > limit:
      raise self.fault(key, f"at most {limit} bytes in a file of {self._size}", f"shape {dataset.shape}")
    if layout == self._h5py.h5d.CHUNKED:
      chunk = math.prod(dataset.chunks) * dataset.dtype.itemsize
      if chunk > limit:
        raise self.fault(key, f"chunks of at most {limit} bytes in a file of {self._size}", f"{dataset.chunks}")
      pairs = zip(dataset.shape, dataset.chunks, strict=True)
      expected = math.prod(-(-length // step) for length, step in pairs)
      stored = dataset.id.get_num_chunks()
      if stored != expected:
        raise self.fault(key, f"{expected} chunks for the shape {dataset.shape}", f"{stored} that are stored")
    elif layout == self._h5py.h5d.CONTIGUOUS and declared and dataset.id.get_storage_size() != declared:
      raise self.fault(key, f"{declared} stored bytes", dataset.id.get_storage_size())
    return dataset


@contextlib.contextmanager
def open_hdf5(path: Path, options: ReadOptions | None = None) -> Iterator[Hdf5Reader]:
  """A file for reading. Whatever goes wrong in the block is a `DatasetError`."""
  h5py = import_h5py()
  try:
    with h5py.File(path, "r") as file:
      Hdf5Reader(file, path).check_digest()
      yield Hdf5Reader(file, path, options)  # Another, as each counts what it has read.
  except DatasetError:
    raise
  # Damaged bytes surface as whatever the layer that met them raises; for the reader they are one thing.
  except Exception as error:
    raise DatasetError(f"{path}: expected an HDF5 file, got {short(error)}") from error


def write_hdf5(
  path: Path,
  arrays: Mapping[str, np.ndarray],
  attributes: Mapping[str, Mapping[str, str | int | float]],
  compression: str | None = None,
) -> None:
  """Writes a new file with checksums over all it holds.

  Args:
    path: the file; must not exist.
    arrays: by key; `a/b` is b in the group a. A scalar is stored in the header of its dataset.
    attributes: by group ("" for the root), then by name. Strings are stored with a fixed length.
    compression: of h5py, for what is not a scalar.
  """
  h5py = import_h5py()
  with h5py.File(path, "x", libver=("v110", "v110")) as file:
    for key, array in arrays.items():
      if array.ndim == 0:
        _write_compact(h5py, file, key, array)
      else:
        chunk_rows = max(1, min(len(array), _CHUNK_BYTES // max(1, array[:1].nbytes)))
        chunks = (chunk_rows, *array.shape[1:])
        file.create_dataset(key, data=array, chunks=chunks, compression=compression, fletcher32=True)
    for group, values in attributes.items():
      for name, value in values.items():
        file.require_group(group or "/").attrs[name] = np.bytes_(value.encode()) if isinstance(value, str) else value
    file.flush()
    file.attrs[DIGEST_ATTRIBUTE] = np.bytes_(Hdf5Reader(file, path).digest().encode())


def common_attributes(manifest: Manifest, task: int) -> dict[str, str | float]:
  """Root attributes that hold what a manifest says of one task."""
  entry = manifest.tasks[task]
  return {
    DISCOUNT_ATTRIBUTE: manifest.discount,
    PARAMETERS_ATTRIBUTE: json.dumps(dict(entry.parameters)),
    REFERENCES_ATTRIBUTE: json.dumps(to_document(entry.reference_returns, manifest.references)),
  }


def _write_compact(h5py: ModuleType, file: Any, key: str, array: np.ndarray) -> None:
  """Data within the header of the dataset, whose checksum then covers them."""
  properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
  properties.set_layout(h5py.h5d.COMPACT)
  space, kind = h5py.h5s.create(h5py.h5s.SCALAR), h5py.h5t.py_create(array.dtype, logical=True)
  h5py.Dataset(h5py.h5d.create(file.id, key.encode(), kind, space, properties))[()] = array
