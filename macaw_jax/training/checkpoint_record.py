"""The record of a checkpoint: `checkpoint.json`, which names each of its files and leaves with a digest.

The file is JSON with these keys:

  format_version  1
  step            updates done
  score           of an evaluation at this step, or null
  identity        name -> digest of something that the run is made of
  progress        values that whoever saves it wants back
  leaves          path of a leaf in the checkpoint -> shape, dtype, and SHA-256 of its bytes in C order
  files           path of a file beside this one -> size in bytes, and SHA-256
  digest          SHA-256 of all the other keys, as ASCII JSON with sorted keys and no spaces, in every version

and only those bytes that writing its values anew gives. So no byte of a checkpoint can change, go or come unnoticed.
"""

import errno
import hashlib
import json
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from macaw_jax.digests import DIGEST, document_digest

FORMAT_VERSION = 1
RECORD_FILE = "checkpoint.json"
BEFORE_RECORDS = "_CHECKPOINT_METADATA"  # beside the arrays where checkpoints had no record of their own
UNREADABLE = (errno.EIO, errno.EBADMSG, getattr(errno, "EUCLEAN", errno.EIO))  # a disk or file system that lost data


class DamagedCheckpoint(ValueError):  # noqa: N818
  """A checkpoint that is not what was saved; the message names the file, what was expected and what was found."""


class OtherVersion(ValueError):  # noqa: N818
  """A checkpoint that is in a format that this release does not read."""


class Note(NamedTuple):
  """The values of a checkpoint beside its arrays."""

  step: int
  score: float | None  # None where there was no evaluation, or one without a finite score
  identity: Mapping[str, str]  # name -> digest of something that the run is made of
  progress: Mapping[str, Any]  # JSON values


class LeafRecord(NamedTuple):
  """One array."""

  shape: tuple[int, ...]
  dtype: str
  sha256: str


class FileRecord(NamedTuple):
  """One file."""

  size: int
  sha256: str


class Record(NamedTuple):
  """The content of `checkpoint.json`."""

  note: Note
  leaves: Mapping[str, LeafRecord]
  files: Mapping[str, FileRecord]  # by path relative to the checkpoint's directory, with forward slashes


def record_leaf(array: np.ndarray) -> LeafRecord:
  """The record of an array."""
  content = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
  return LeafRecord(array.shape, array.dtype.name, hashlib.sha256(content.data).hexdigest())


def record_files(directory: Path) -> dict[str, FileRecord]:
  """The records of all files in a checkpoint's directory but `checkpoint.json`."""
  return {name: _record_file(path) for name, path in _plain_files(directory).items()}


def write_record(directory: Path, record: Record) -> None:
  """Writes a new `checkpoint.json`."""
  with open(directory / RECORD_FILE, "xb") as file:
    file.write(_to_bytes(_to_document(record)))


def read_record(directory: Path) -> Record:
  """The record of the checkpoint in `directory`, as it was written.

  Raises:
    DamagedCheckpoint: the file is missing, was changed after it was written, or belongs to another step.
    OtherVersion: the checkpoint was written by a newer release, or before checkpoints had a format version.
  """
  path = directory / RECORD_FILE
  content, document = _read_document(path)
  digest = document_digest(document)
  if document.get(DIGEST) != digest:
    found = f"found {document.get(DIGEST)!r:.80}: the file was changed after it was written"
    raise DamagedCheckpoint(f"{path}: key {DIGEST!r}: expected {digest}, the SHA-256 of the other keys, {found}")
  version = document.get("format_version")
  if version != FORMAT_VERSION:
    raise OtherVersion(
      f"{path}: format version {version!r:.80}, written by a newer release; this release reads version {FORMAT_VERSION}"
    )
  try:
    record = _from_document(document)
  except (AttributeError, KeyError, TypeError, ValueError) as error:
    raise DamagedCheckpoint(f"{path}: expected the keys of format version {FORMAT_VERSION}, found {error!r}") from error
  if _to_bytes(_to_document(record)) != content:
    raise DamagedCheckpoint(f"{path}: expected the bytes that its values are written as, found others of equal meaning")
  if directory.name != str(record.note.step):
    raise DamagedCheckpoint(f"{path}: key 'step': expected {directory.name}, found {record.note.step}")
  return record


def verify_files(directory: Path, files: Mapping[str, FileRecord]) -> None:
  """Reads all files of a checkpoint's directory but `checkpoint.json`.

  Raises:
    DamagedCheckpoint: they are not exactly the ones in `files`.
  """
  found = _plain_files(directory)
  for name in sorted(files.keys() | found.keys()):
    path = directory / name
    if name not in found:
      raise DamagedCheckpoint(f"{path}: expected a file of {files[name].size} bytes, found none")
    if name not in files:
      raise DamagedCheckpoint(f"{path}: expected no such file in this checkpoint, found one")
    record = _record_file(path)
    if record.size != files[name].size:
      raise DamagedCheckpoint(f"{path}: expected {files[name].size} bytes, found {record.size}")
    if record.sha256 != files[name].sha256:
      change = f"expected SHA-256 {files[name].sha256}, found {record.sha256}"
      raise DamagedCheckpoint(f"{path}: {change}: the file was changed after it was written")


def _to_document(record: Record) -> dict[str, Any]:
  document = {
    "format_version": FORMAT_VERSION,
    **record.note._asdict(),
    "leaves": {path: leaf._asdict() for path, leaf in record.leaves.items()},
    "files": {name: file._asdict() for name, file in record.files.items()},
  }
  return document | {DIGEST: document_digest(document)}


def _from_document(document: Mapping[str, Any]) -> Record:
  return Record(
    Note(**{field: document[field] for field in Note._fields}),
    {
      path: LeafRecord(tuple(leaf["shape"]), leaf["dtype"], leaf["sha256"]) for path, leaf in document["leaves"].items()
    },
    {name: FileRecord(file["size"], file["sha256"]) for name, file in document["files"].items()},
  )


def _to_bytes(document: Mapping[str, Any]) -> bytes:
  return (json.dumps(document, indent=2, sort_keys=True, allow_nan=False) + "\n").encode("ascii")


def _read_document(path: Path) -> tuple[bytes, dict[str, Any]]:
  """The bytes of a `checkpoint.json`, and the object that they say."""
  if not path.exists() and (path.parent / BEFORE_RECORDS).exists():
    raise OtherVersion(
      f"{path.parent}: written before checkpoints had a format version; this release reads version {FORMAT_VERSION}"
    )
  if path.is_symlink() or not path.is_file():
    raise DamagedCheckpoint(f"{path}: expected the record of the checkpoint, found none, or no plain file")
  try:
    content = path.read_bytes()
    document = json.loads(content.decode("ascii"))
  except OSError as error:
    raise _unless_unreadable(path, error) from error
  except (ValueError, RecursionError) as error:
    raise DamagedCheckpoint(f"{path}: expected JSON in ASCII, found {type(error).__name__}: {error}") from error
  if not isinstance(document, dict):
    raise DamagedCheckpoint(f"{path}: expected an object, found {type(document).__name__}")
  return content, document


def _record_file(path: Path) -> FileRecord:
  try:
    with open(path, "rb") as file:
      digest = hashlib.file_digest(file, "sha256").hexdigest()
      return FileRecord(file.tell(), digest)
  except OSError as error:
    raise _unless_unreadable(path, error) from error


def _unless_unreadable(path: Path, error: OSError) -> OSError | DamagedCheckpoint:
  """`error` itself, or damage where it says that the file's data are lost; a lack of rights or handles is no damage."""
  if error.errno in UNREADABLE:
    return DamagedCheckpoint(f"{path}: expected a file that can be read, found {error.strerror}")
  return error


def _plain_files(directory: Path) -> dict[str, Path]:
  """All files below a checkpoint's directory but `checkpoint.json`, by relative path.

  Raises:
    DamagedCheckpoint: something is neither a plain file nor a directory, or a directory is empty.
  """
  files = {}
  for folder, folders, names in os.walk(directory, onerror=_raise):
    if not folders and not names:
      raise DamagedCheckpoint(f"{folder}: expected files, found an empty directory")
    for path in (Path(folder, name) for name in sorted([*folders, *names])):
      mode = path.lstat().st_mode
      if stat.S_ISREG(mode):
        files[path.relative_to(directory).as_posix()] = path
      elif not stat.S_ISDIR(mode):
        raise DamagedCheckpoint(f"{path}: expected a plain file, found a link or a device")
  files.pop(RECORD_FILE, None)
  return files


def _raise(error: OSError) -> None:
  raise error
