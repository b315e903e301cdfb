"""Random damage to a dataset: each case ends in `DatasetError`, or what is read is what was written."""

import dataclasses
import io
import json
import random
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from small_dataset import accept_file, edit_arrays, edit_manifest, write_small

from macaw_jax.data.dataset import Episodes, load_dataset, read_episodes
from macaw_jax.data.manifest import DatasetError, Manifest, read_manifest

LENGTHS = ((4, 2, 3), (3, 5, 1))  # equally many rows and episodes, so that only the hash tells the files apart
TASKS = range(len(LENGTHS))
FLOATS = ("observation", "action", "reward", "final_observation")
PER_ROW, PER_EPISODE = ("observation", "action", "reward"), ("episode_length", "terminal", "collected_at")


class Damage(NamedTuple):
  """One kind of damage, drawn `count` times."""

  count: int
  apply: Callable[[Path, random.Random], None]
  may_be_harmless: bool = False  # may hit what carries no data, such as the date of a member


def task_file(directory: Path, rng: random.Random) -> Path:
  return directory / f"task_{rng.choice(TASKS):02d}.npz"


def flip_bit(content: bytearray, rng: random.Random) -> None:
  content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)


def overwrite(content: bytearray, rng: random.Random) -> None:
  start = rng.randrange(len(content))
  content[start : start + 16] = rng.randbytes(16)


def truncate(content: bytearray, rng: random.Random) -> None:
  del content[rng.randrange(len(content)) :]


def append(content: bytearray, rng: random.Random) -> None:
  content += rng.choice((b" ", b"\n", b"}", b"\0", b"PK\x05\x06", rng.randbytes(rng.randrange(1, 100))))


def repeat_part(content: bytearray, rng: random.Random) -> None:
  start, end = sorted(rng.sample(range(len(content)), 2))
  content[end:end] = content[start:end]


def in_file(change: Callable[[bytearray, random.Random], None], *, accepted: bool) -> Callable[..., None]:
  """Damage of a task's file; `accepted` writes its hash into the manifest, so that the hash does not catch it."""

  def apply(directory: Path, rng: random.Random) -> None:
    path = task_file(directory, rng)
    content = bytearray(path.read_bytes())
    change(content, rng)
    path.write_bytes(content)
    if accepted:
      accept_file(directory, int(path.stem[-2:]))

  return apply


def in_manifest(change: Callable[[bytearray, random.Random], None]) -> Callable[..., None]:
  def apply(directory: Path, rng: random.Random) -> None:
    path = directory / "manifest.json"
    content = bytearray(path.read_bytes())
    change(content, rng)
    path.write_bytes(content)

  return apply


def in_arrays(change: Callable[[dict[str, Any], random.Random], None]) -> Callable[..., None]:
  """Damage of a task's arrays, stored anew with a right checksum and hash."""

  def apply(directory: Path, rng: random.Random) -> None:
    edit_arrays(directory, rng.choice(TASKS), lambda arrays: change(arrays, rng))

  return apply


# Keys.


def drop_key(arrays, rng):
  del arrays[rng.choice(sorted(arrays))]


def rename_key(arrays, rng):
  key = rng.choice(sorted(arrays))
  arrays[rng.choice((key.upper(), key + "s", key[:-1], "", f"../{key}", f"{key}/{key}"))] = arrays.pop(key)


def swap_keys(arrays, rng):
  first, second = rng.sample(sorted(arrays), 2)
  arrays[first], arrays[second] = arrays[second], arrays[first]


def duplicate_key(directory, rng):
  """A second member of the same name, with other values."""
  path = task_file(directory, rng)
  with zipfile.ZipFile(path) as archive:
    members = [(name, archive.read(name)) for name in archive.namelist()]
  name, content = rng.choice(members)
  with zipfile.ZipFile(path, "w") as archive:
    for member in [*members, (name, content[:-1] + bytes([content[-1] ^ 1]))]:
      archive.writestr(*member)
  accept_file(directory, int(path.stem[-2:]))


# Layout.


def wrong_rank(arrays, rng):
  key = rng.choice(sorted(arrays))
  changes = (lambda array: array[None], lambda array: array[..., None], lambda array: array[0])
  arrays[key] = rng.choice(changes)(arrays[key])


def wrong_dtype(arrays, rng):
  key = rng.choice(sorted(arrays))
  array = arrays[key]
  names = ("<f8", ">f4", "<f2", "<i4", ">i8", "u1", "?", "<f4", "O", "<U3", "<c8", "<M8[s]")
  dtype = rng.choice([np.dtype(name) for name in names if np.dtype(name) != array.dtype])
  same_size = dtype.itemsize == array.itemsize and not dtype.hasobject
  arrays[key] = array.view(dtype) if same_size else np.zeros(array.shape, dtype)


def wrong_length(arrays, rng):
  key = rng.choice(sorted(arrays))
  array = arrays[key]
  arrays[key] = rng.choice((array[:-1], array[:0], np.concatenate([array, array[:1]]), np.repeat(array, 2, axis=0)))


def wrong_width(arrays, rng):
  key = rng.choice(("observation", "action", "final_observation"))
  arrays[key] = rng.choice((arrays[key][:, :-1], arrays[key][:, :0], np.tile(arrays[key], (1, 2))))


def column_order(arrays, rng):
  key = rng.choice(("observation", "action", "final_observation"))
  arrays[key] = np.asfortranarray(arrays[key])


def rows_lost_everywhere(arrays, rng):
  """Arrays that agree with each other, and not with the manifest."""
  for key in PER_ROW:
    arrays[key] = arrays[key][:-1]
  del rng


# Values.


def not_finite(arrays, rng):
  array = arrays[rng.choice(FLOATS)].reshape(-1)
  array[rng.randrange(len(array))] = rng.choice((np.nan, -np.nan, np.inf, -np.inf))


def action_out_of_bounds(arrays, rng):
  array = arrays["action"].reshape(-1)
  value = rng.choice((np.nextafter(np.float32(1), np.float32(2)), 1.5, 1e30))
  array[rng.randrange(len(array))] = rng.choice((-1, 1)) * value


def wrong_episode_length(arrays, rng):
  row = rng.randrange(3)
  arrays["episode_length"][row] = rng.choice(
    [value for value in (*range(-2, 10), 2**31 - 1, -(2**31)) if value != arrays["episode_length"][row]]
  )


def episode_lengths_of_the_right_sum(arrays, rng):
  """One length below 1 or above the horizon of 5, made good in the others."""
  arrays["episode_length"][:] = rng.choice(((0, 4, 5), (4, 0, 5), (6, 2, 1), (-1, 5, 5), (9, -1, 1), (7, 1, 1)))


def collected_in_another_order(arrays, rng):
  arrays["collected_at"][:] = rng.choice(((10, 0, 20), (0, 20, 10), (-1, 10, 20), (-(2**63), 0, 1), (5, 4, 3)))


def boolean_of_another_byte(arrays, rng):
  arrays["terminal"].view(np.uint8)[rng.randrange(3)] = rng.randrange(2, 256)


# Declared sizes.


def read_members(path):
  with zipfile.ZipFile(path) as archive:
    return {name: archive.read(name) for name in archive.namelist()}


def write_members(path, members):
  """Writes a task's file anew, with its hash in the manifest."""
  with zipfile.ZipFile(path, "w") as archive:
    for member in members.items():
      archive.writestr(*member)
  accept_file(path.parent, int(path.stem[-2:]))


def declared_shape(directory, rng):
  path = task_file(directory, rng)
  members = read_members(path)
  name = rng.choice(sorted(members))
  with np.load(path) as file:
    array = file[name.removesuffix(".npy")]
  huge = rng.choice((10**15, 2**40, 2**62, 2**64, -1, -array.shape[0], array.shape[0] + 1))
  content = io.BytesIO()
  header = {"descr": array.dtype.str, "fortran_order": False, "shape": (huge, *array.shape[1:])}
  np.lib.format.write_array_header_1_0(content, header)
  members[name] = content.getvalue() + array.tobytes()
  write_members(path, members)


def header_that_is_no_description(directory, rng):
  path = task_file(directory, rng)
  members = read_members(path)
  text = rng.choice(
    (
      b"{'descr': '<f4', 'fortran_order': False, 'shape': (" + b"9" * 5000 + b",)}",
      b"{'descr': '<f4', 'fortran_order': False, 'shape': " + b"(" * 9000,
      b"{'descr': '|O', 'fortran_order': False, 'shape': (9,)}",
      b"{'descr': [('x', '<f4')], 'fortran_order': False, 'shape': (9,)}",
      b"{'descr': '<f4', 'fortran_order': 7, 'shape': (9,)}",
      b"{'descr': '<f4', 'shape': (9,)}",
      b"__import__('os').getcwd()",
      b"\xff\xfe",
    )
  )
  name = rng.choice(sorted(members))
  members[name] = b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + bytes(36)
  write_members(path, members)


def declared_member_size(directory, rng):
  """Sizes in the central directory, which is the one that is read: one of the two, or both."""
  path = task_file(directory, rng)
  content = bytearray(path.read_bytes())
  entries = [position for position in range(len(content)) if content[position : position + 4] == b"PK\x01\x02"]
  entry = rng.choice(entries)
  size = rng.choice((0x7FFFFFF0, 0xFFFFFFFE, 0xFFFFFFFF, 0, 1, len(content) + 1))
  fields = rng.choice(((20,), (24,), (20, 24)))
  for field in fields:
    content[entry + field : entry + field + 4] = size.to_bytes(4, "little")
  path.write_bytes(content)
  accept_file(directory, int(path.stem[-2:]))


def data_and_checksum(content: bytearray, rng: random.Random) -> None:
  """A header of a member that is wrong, under a right checksum."""
  with zipfile.ZipFile(io.BytesIO(content)) as archive:
    member = rng.choice(archive.infolist())
    name_and_extra = content[member.header_offset + 26 : member.header_offset + 30]
  start = member.header_offset + 30 + int.from_bytes(name_and_extra[:2], "little")
  start += int.from_bytes(name_and_extra[2:], "little")
  content[start + rng.randrange(10)] ^= 1 << rng.randrange(8)
  checksum = zlib.crc32(content[start : start + member.file_size]).to_bytes(4, "little")
  central = content.index(member.filename.encode(), content.index(b"PK\x01\x02")) - 46
  content[central + 16 : central + 20] = checksum
  content[member.header_offset + 14 : member.header_offset + 18] = checksum


# Files.


def swap_task_files(directory, rng):
  names = [directory / f"task_{task:02d}.npz" for task in rng.sample(TASKS, 2)]
  contents = [name.read_bytes() for name in names]
  for name, content in zip(names, reversed(contents), strict=True):
    name.write_bytes(content)


def copy_task_file(directory, rng):
  source, target = rng.sample(TASKS, 2)
  (directory / f"task_{target:02d}.npz").write_bytes((directory / f"task_{source:02d}.npz").read_bytes())


def replace_file(directory, rng):
  path = rng.choice((task_file(directory, rng), directory / "manifest.json"))
  path.unlink()
  kind = rng.choice(("gone", "directory", "loop", "empty", "broken link"))
  if kind == "directory":
    path.mkdir()
  elif kind == "loop":
    path.symlink_to(path)
  elif kind == "broken link":
    path.symlink_to(path.with_name("nowhere"))
  elif kind == "empty":
    path.write_bytes(b"")


def another_file(directory, rng):
  (directory / f"task_{rng.randrange(len(TASKS), 99):02d}.npz").write_bytes((directory / "task_00.npz").read_bytes())


def compress(directory, rng):
  path = task_file(directory, rng)
  with np.load(path) as file:
    arrays = {key: file[key] for key in file.files}
  np.savez_compressed(path, **arrays)
  accept_file(directory, int(path.stem[-2:]))


# Manifest.


def places(document: Any) -> list[tuple[Any, Any]]:
  """Every container of a document with each of its keys or positions."""
  items = document.items() if isinstance(document, dict) else enumerate(document)
  found = []
  for key, value in items:
    found.append((document, key))
    if isinstance(value, dict | list):
      found += places(value)
  return found


def checked_places(document: dict[str, Any]) -> list[tuple[dict[str, Any], str]]:
  """The fields whose names and types are fixed; beneath `behaviour` and `versions` names are free."""
  tasks = document["tasks"]
  returns = [task["reference_returns"] for task in tasks]
  return [(target, key) for target in (document, *tasks, *returns) for key in target if key != "digest"]


def rewritten(change: Callable[[dict[str, Any], random.Random], None], *, accepted: bool) -> Callable[..., None]:
  """Damage of the manifest's document; `accepted` renews the digest, so that it does not catch it."""

  def apply(directory: Path, rng: random.Random) -> None:
    if accepted:
      edit_manifest(directory, lambda document: change(document, rng))
      return
    path = directory / "manifest.json"
    document = json.loads(path.read_text())
    change(document, rng)
    path.write_text(json.dumps(document))

  return apply


def remove_field(document, rng):
  target, key = rng.choice(checked_places(document))
  del target[key]


def rename_field(document, rng):
  target, key = rng.choice(checked_places(document))
  target[rng.choice((key.upper(), key + "_", key[1:], ""))] = target.pop(key)


def retype_field(document, rng):
  # A commit may be null, and any text is a family, a date or a commit.
  target, key = rng.choice([place for place in checked_places(document) if place[1] != "git_commit"])
  values = (None, True, "text", [[None]], {"a": {"b": None}}, -1.5)
  same = (bool,) if isinstance(target[key], bool) else (type(target[key]), float)
  target[key] = rng.choice([value for value in values if not isinstance(value, same)])


def size_beyond_reason(document, rng):
  value = rng.choice((2**31, 2**63, 2**64, 10**300, 10**4000))
  target, key = rng.choice(
    [
      (document, "observation_size"),
      (document, "action_size"),
      *((task, key) for task in document["tasks"] for key in ("num_transitions", "num_episodes")),
    ]
  )
  target[key] = value


def change_a_value(document, rng):
  """Any value of the manifest, by another of its own type."""
  places_of_values = [
    (target, key) for target, key in places(document) if isinstance(target[key], int | float | str | None)
  ]
  target, key = rng.choice(places_of_values)
  value = target[key]
  if isinstance(value, bool):
    target[key] = not value
  elif isinstance(value, str | None):
    target[key] = (value or "") + "x"
  else:
    target[key] = value + rng.choice((1, -1, 0.25, 1e-9))


def remove_any_entry(document, rng):
  target, key = rng.choice(places(document))
  del target[key]


DAMAGES: dict[str, Damage] = {
  "a bit of a task's file": Damage(80, in_file(flip_bit, accepted=False)),
  "a bit of an accepted file": Damage(120, in_file(flip_bit, accepted=True), may_be_harmless=True),
  "bytes of an accepted file": Damage(60, in_file(overwrite, accepted=True), may_be_harmless=True),
  "a truncated file": Damage(30, in_file(truncate, accepted=False)),
  "an accepted truncated file": Damage(40, in_file(truncate, accepted=True)),
  "bytes after a file": Damage(20, in_file(append, accepted=False)),
  "bytes after an accepted file": Damage(30, in_file(append, accepted=True), may_be_harmless=True),
  "a part repeated in an accepted file": Damage(40, in_file(repeat_part, accepted=True), may_be_harmless=True),
  "a header under a right checksum": Damage(60, in_file(data_and_checksum, accepted=True)),
  "a bit of the manifest": Damage(250, in_manifest(flip_bit), may_be_harmless=True),
  "bytes of the manifest": Damage(60, in_manifest(overwrite), may_be_harmless=True),
  "a truncated manifest": Damage(40, in_manifest(truncate), may_be_harmless=True),
  "bytes after the manifest": Damage(30, in_manifest(append), may_be_harmless=True),
  "a part repeated in the manifest": Damage(40, in_manifest(repeat_part), may_be_harmless=True),
  "a key dropped": Damage(10, in_arrays(drop_key)),
  "a key renamed": Damage(20, in_arrays(rename_key)),
  "keys swapped": Damage(20, in_arrays(swap_keys)),
  "a key twice": Damage(10, duplicate_key),
  "wrong rank": Damage(25, in_arrays(wrong_rank)),
  "wrong type": Damage(50, in_arrays(wrong_dtype)),
  "wrong length": Damage(30, in_arrays(wrong_length)),
  "wrong width": Damage(15, in_arrays(wrong_width)),
  "column order": Damage(5, in_arrays(column_order)),
  "rows lost everywhere": Damage(2, in_arrays(rows_lost_everywhere)),
  "not finite": Damage(25, in_arrays(not_finite)),
  "action out of bounds": Damage(15, in_arrays(action_out_of_bounds)),
  "wrong episode length": Damage(25, in_arrays(wrong_episode_length)),
  "episode lengths of the right sum": Damage(10, in_arrays(episode_lengths_of_the_right_sum)),
  "collected in another order": Damage(10, in_arrays(collected_in_another_order)),
  "a boolean of another byte": Damage(10, in_arrays(boolean_of_another_byte)),
  "declared shape": Damage(30, declared_shape),
  "header that is no description": Damage(25, header_that_is_no_description),
  "declared member size": Damage(40, declared_member_size),
  "swapped task files": Damage(2, swap_task_files),
  "a task's file in place of another": Damage(2, copy_task_file),
  "no file": Damage(20, replace_file),
  "another file": Damage(5, another_file),
  "compressed": Damage(2, compress),
  "a manifest's field removed": Damage(30, rewritten(remove_field, accepted=True)),
  "a manifest's field renamed": Damage(30, rewritten(rename_field, accepted=True)),
  "a manifest's field of another type": Damage(60, rewritten(retype_field, accepted=True)),
  "a size beyond reason": Damage(30, rewritten(size_beyond_reason, accepted=True)),
  "a manifest's value changed": Damage(60, rewritten(change_a_value, accepted=False)),
  "a manifest's entry removed": Damage(40, rewritten(remove_any_entry, accepted=False)),
}


class Content(NamedTuple):
  """All that a dataset says."""

  manifest: Manifest
  episodes: list[Episodes]


def read_all(directory: Path) -> Content:
  manifest = read_manifest(directory)
  load_dataset(directory, tasks=range(len(manifest.tasks)))
  episodes = [read_episodes(directory, manifest, task) for task in range(len(manifest.tasks))]
  # An accepted file has another hash, whatever it holds.
  tasks = tuple(dataclasses.replace(entry, sha256="") for entry in manifest.tasks)
  return Content(dataclasses.replace(manifest, tasks=tasks), episodes)


def assert_same(found: Content, expected: Content) -> None:
  assert found.manifest == expected.manifest
  for one, other in zip(found.episodes, expected.episodes, strict=True):
    for name, array, original in zip(Episodes._fields, one, other, strict=True):
      assert (array.dtype, array.shape) == (original.dtype, original.shape), name
      assert array.tobytes() == original.tobytes(), name


@pytest.mark.filterwarnings("ignore::UserWarning")  # of zipfile, about the key twice
@pytest.mark.parametrize("name", DAMAGES)
def test_no_damage_is_silent(name, tmp_path):
  write_small(tmp_path / "whole", LENGTHS)
  files = {path.name: path.read_bytes() for path in (tmp_path / "whole").iterdir()}
  expected = read_all(tmp_path / "whole")
  damage = DAMAGES[name]
  rng = random.Random(name)
  messages = []
  for case in range(damage.count):
    directory = tmp_path / f"case_{case}"
    directory.mkdir()
    for file, content in files.items():
      (directory / file).write_bytes(content)
    damage.apply(directory, rng)
    try:
      found = read_all(directory)
    except DatasetError as error:
      messages.append(str(error))
    else:
      assert damage.may_be_harmless, f"case {case} was not noticed"
      assert_same(found, expected)
  for message in messages:
    assert message.startswith(f"{tmp_path}/case_")
    assert "\n" not in message


def test_the_cases_are_many():
  assert sum(damage.count for damage in DAMAGES.values()) >= 1500
  assert sum(damage.count for damage in DAMAGES.values() if not damage.may_be_harmless) >= 800
