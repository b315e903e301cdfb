"""Faults put into every format by the hundred. A fault is silent if reading succeeds and gives other data.

None may be where a file has checksums, as all that this package writes. Elsewhere a changed number that nothing
contradicts is silent by nature; any other fault is an error there too, and nothing but `DatasetError` is ever raised.
"""

import pickle
import shutil

import numpy as np
import pytest
from format_sources import TASKS, as_others_write, data_files, edit_hdf5, is_same, make_source, read, replace

from macaw_jax.data.formats import FORMATS
from macaw_jax.data.manifest import DatasetError

h5py = pytest.importorskip("h5py")

WRITTEN = ("macaw_hdf5", "d4rl_hdf5", "minari")
REQUIRED = {
  "macaw_hdf5": [
    *("obs", "actions", "next_obs", "rewards", "terminals"),
    *("mc_rewards", "terminal_obs", "terminal_discounts", "discount_factor"),
  ],
  "d4rl_hdf5": ["observations", "actions", "rewards", "terminals"],
  "minari": [f"episode_1/{key}" for key in ("observations", "actions", "rewards", "terminations", "truncations")],
  "pickle": ["observations", "actions", "rewards", "next_observations", "terminals"],
}
ACTIONS = {"macaw_hdf5": "actions", "d4rl_hdf5": "actions", "minari": "episode_1/actions", "pickle": "actions"}
NOT_FLOAT = ("terminals", "terminations", "truncations")
ONE_TASK = TASKS[:1]


def outcome(name, directory, expected):
  """The outcome of reading: "error", "same" or "other". Anything but a `DatasetError` is raised."""
  try:
    found = read(name, directory)
  except DatasetError:
    return "error"
  return "same" if is_same(found, expected) else "other"


def flipped(content, rng):
  changed = bytearray(content)
  for _ in range(int(rng.integers(1, 4))):
    changed[rng.integers(len(changed))] ^= 1 << int(rng.integers(8))
  return bytes(changed)


def overwritten(content, rng):
  changed = bytearray(content)
  start = int(rng.integers(len(changed)))
  stop = min(len(changed), start + int(rng.integers(1, 64)))
  changed[start:stop] = rng.bytes(stop - start)
  return bytes(changed)


def truncated(content, rng):
  return content[: rng.integers(len(content))]


def shifted(content, rng):
  """With a few bytes more or fewer somewhere."""
  place = int(rng.integers(len(content)))
  if rng.random() < 0.5:
    return content[:place] + rng.bytes(int(rng.integers(1, 9))) + content[place:]
  return content[:place] + content[place + int(rng.integers(1, 9)) :]


def outcomes(name, directory, expected, damage, cases, seed):
  """Counts of what reading does to a source with one damaged file."""
  rng = np.random.default_rng(seed)
  counts = {"error": 0, "same": 0, "other": 0}
  path = data_files(directory)[0]
  content = path.read_bytes()
  for _ in range(cases):
    path.write_bytes(damage(content, rng))
    counts[outcome(name, directory, expected)] += 1
  path.write_bytes(content)
  assert outcome(name, directory, expected) == "same"
  return counts


@pytest.mark.parametrize("damage", [flipped, overwritten, truncated, shifted])
@pytest.mark.parametrize("name", WRITTEN)
def test_no_damage_to_our_files_is_silent(name, damage, tmp_path):
  expected = make_source(name, tmp_path / "source", ONE_TASK)
  counts = outcomes(name, tmp_path / "source", expected, damage, 120, seed=0)
  assert counts["other"] == 0
  assert counts["error"] >= (120 if damage is truncated else 20)


@pytest.mark.parametrize("damage", [flipped, overwritten, truncated, shifted])
@pytest.mark.parametrize("name", FORMATS)
def test_damage_to_files_of_others_raises_nothing_else(name, damage, tmp_path):
  expected = make_source(name, tmp_path / "source", ONE_TASK)
  if name in WRITTEN:
    as_others_write(data_files(tmp_path / "source")[0])
    expected = read(name, tmp_path / "source")
  counts = outcomes(name, tmp_path / "source", expected, damage, 100, seed=1)
  if damage is truncated:
    assert counts["error"] == 100


def test_no_change_of_a_byte_in_minari_metadata_is_silent(tmp_path):
  expected = make_source("minari", tmp_path / "source", ONE_TASK)
  rng = np.random.default_rng(2)
  path = next((tmp_path / "source").rglob("metadata.json"))
  content = path.read_bytes()
  for _ in range(100):
    path.write_bytes(flipped(content, rng))
    assert outcome("minari", tmp_path / "source", expected) != "other"


# Faults in single keys, in files without digest or checksums.


def not_finite(values, rng):
  values = np.array(values)
  values[tuple(rng.integers(values.shape))] = rng.choice([np.nan, np.inf, -np.inf])
  return values


def out_of_bounds(values, rng):
  values = values.copy()
  values[tuple(rng.integers(values.shape))] = rng.choice([-1.0, 1.0]) * (1.0 + 10.0 ** rng.uniform(-5, 6))
  return values


def other_type(values, rng):
  kinds = ("S5", "c8") if values.dtype == bool else ("c16", "S5")
  return values.astype(kinds[rng.integers(len(kinds))])


def other_length(values, rng):
  return values[: rng.integers(len(values))] if rng.random() < 0.5 else np.concatenate([values, values[:1]])


def other_axes(values, rng):
  shapes = [(*values.shape, 1, 1), (1, *values.shape), (values.size + 1, 1)]
  return np.resize(values, shapes[rng.integers(len(shapes))])


def key_faults(name):
  for key in REQUIRED[name]:
    for change in (not_finite, other_type, other_length, other_axes):
      if key == "discount_factor" and change in (other_length, other_axes):
        continue  # A scalar. One number with more axes is that number still.
      if change is not_finite and key.rpartition("/")[2] in NOT_FLOAT:
        continue
      yield key, change
  yield ACTIONS[name], out_of_bounds


@pytest.mark.parametrize("name", WRITTEN)
def test_faults_of_a_key_in_hdf5_are_errors_that_name_it(name, tmp_path):
  make_source(name, tmp_path / "source", ONE_TASK)
  path = data_files(tmp_path / "source")[0]
  as_others_write(path)
  shutil.copy(path, tmp_path / "whole.hdf5")
  rng = np.random.default_rng(3)
  for key, change in key_faults(name):
    for _ in range(3):
      shutil.copy(tmp_path / "whole.hdf5", path)
      edit_hdf5(path, lambda file, key=key, change=change: replace(file, key, change(file[key][()], rng)))
      with pytest.raises(DatasetError, match=rf"{path.name}: key '.+': expected"):
        read(name, tmp_path / "source")


@pytest.mark.parametrize("rename", [False, True])
@pytest.mark.parametrize("name", WRITTEN)
def test_a_missing_or_renamed_key_in_hdf5_is_an_error_that_names_it(name, rename, tmp_path):
  make_source(name, tmp_path / "source", ONE_TASK)
  path = data_files(tmp_path / "source")[0]
  as_others_write(path)
  shutil.copy(path, tmp_path / "whole.hdf5")
  for key in REQUIRED[name]:
    shutil.copy(tmp_path / "whole.hdf5", path)
    edit_hdf5(path, lambda file, key=key: file.move(key, f"{key}_old") if rename else file.__delitem__(key))
    with pytest.raises(DatasetError, match=f"{path.name}: key '{key}' is missing; found "):
      read(name, tmp_path / "source")


def test_faults_of_a_key_in_pickles_are_errors(tmp_path):
  make_source("pickle", tmp_path / "source", ONE_TASK)
  path = data_files(tmp_path / "source")[0]
  whole = pickle.loads(path.read_bytes())
  rng = np.random.default_rng(4)
  for key, change in key_faults("pickle"):
    for _ in range(10):
      path.write_bytes(pickle.dumps(whole | {key: change(whole[key], rng)}))
      with pytest.raises(DatasetError, match=path.name):
        read("pickle", tmp_path / "source")
  for key in REQUIRED["pickle"]:
    rest = {name: values for name, values in whole.items() if name != key}
    for changed in (rest, rest | {f"{key}_old": whole[key]}):
      path.write_bytes(pickle.dumps(changed))
      with pytest.raises(DatasetError, match=f"key '{key}' is missing"):
        read("pickle", tmp_path / "source")


def test_faults_in_a_trajectory_are_errors(tmp_path):
  make_source("epoch_npy", tmp_path / "source", ONE_TASK)
  path = data_files(tmp_path / "source")[0]
  whole = np.load(path, allow_pickle=True)
  rng = np.random.default_rng(5)
  changes = [not_finite, other_type, other_length, other_axes]
  for column in range(4):
    for change in [*changes, out_of_bounds] if column == 1 else changes:
      for _ in range(10):
        rows = whole.copy()
        row = int(rng.integers(len(rows)))
        values = np.atleast_1d(np.asarray(rows[row, column]))
        if column == 2 and change is other_type:
          continue  # A reward that is a whole number is one.
        rows[row, column] = change(values, rng)
        np.save(path, rows, allow_pickle=True)
        with pytest.raises(DatasetError, match=path.name):
          read("epoch_npy", tmp_path / "source")


def test_contradicted_rewards_of_a_buffer_are_errors(tmp_path):
  make_source("macaw_hdf5", tmp_path / "source", ONE_TASK)
  path = data_files(tmp_path / "source")[0]
  as_others_write(path)
  shutil.copy(path, tmp_path / "whole.hdf5")
  rng = np.random.default_rng(6)
  for key in ("rewards", "mc_rewards", "terminal_discounts", "next_obs", "terminal_obs"):
    for _ in range(40):
      shutil.copy(tmp_path / "whole.hdf5", path)

      def edit(file, key=key):
        values = file[key][()]
        place = tuple(rng.integers(values.shape))
        # One number, by a thousandth of its size or more.
        values[place] += rng.choice([-1, 1]) * 10.0 ** rng.uniform(-3, 3) * max(abs(values[place]), 1.0)
        replace(file, key, values)

      edit_hdf5(path, edit)
      with pytest.raises(DatasetError, match=r"task_00\.hdf5: key '\w+': expected .* in row [0-9]$"):
        read("macaw_hdf5", tmp_path / "source")
