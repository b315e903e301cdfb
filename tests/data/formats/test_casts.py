"""Numbers of other types, and actions that are beyond their bounds by rounding."""

import numpy as np
import pytest

from macaw_jax.data.formats import ReadOptions
from macaw_jax.data.formats.arrays import read_arrays
from macaw_jax.data.manifest import DatasetError


def task(**changes):
  column = np.arange(4.0)[:, None]
  rows = {"observations": column, "actions": np.full((4, 1), 0.5), "rewards": column[:, 0]}
  return rows | {"next_observations": column + 1, "timeouts": [0, 0, 0, 1]} | changes


def read(*tasks, **options):
  return read_arrays(tasks, ReadOptions(discount=0.9, **options))


@pytest.mark.parametrize("kind", [np.int64, np.uint8, np.int32, np.float16, np.bool_])
@pytest.mark.parametrize("key", ["observations", "rewards"])
def test_what_float32_holds_exactly_is_cast_and_noted(key, kind):
  values = np.array([0, 1, 1, 0]) if kind == np.bool_ else np.arange(4)
  values = values.astype(kind).reshape((4, 1) if key == "observations" else (4,))
  rows = task(**{key: values})
  if key == "observations":
    rows["next_observations"] = np.append(values[1:], values[-1:], axis=0)
  imported = read(rows)
  found = getattr(imported.episodes[0], {"observations": "observation", "rewards": "reward"}[key])
  assert found.dtype == np.float32
  np.testing.assert_array_equal(found, values)
  assert f"task 0: {key}: {np.dtype(kind)} stored as float32, exactly" in imported.notes


def test_one_line_is_said_of_many_tasks():
  whole = task(rewards=np.arange(4))
  imported = read(whole, task(), whole, whole)
  assert imported.notes == ("tasks 0, 2-3: rewards: int64 stored as float32, exactly",)


def test_whole_numbers_that_float32_cannot_hold_are_an_error():
  assert read(task(rewards=np.array([1 << 24, 0, -(1 << 24), 0]))).episodes[0].reward[0] == 1 << 24
  for wrong in ((1 << 24) + 1, -(1 << 24) - 1, np.iinfo(np.int64).min):
    with pytest.raises(
      DatasetError, match=f"task 0: key 'rewards': expected whole numbers up to .*, got {wrong} in row 1"
    ):
      read(task(rewards=np.array([0, wrong, 0, 0])))
  with pytest.raises(DatasetError, match="expected whole numbers up to"):
    read(task(rewards=np.array([1 << 63, 0, 0, 0], np.uint64)))


@pytest.mark.parametrize(
  ("values", "found"),
  [(np.array([0, 1, 0, 1], bool), "bool"), (np.array(["a"] * 4), "<U1"), (np.ones(4, complex), "c")],
)
def test_actions_that_are_no_numbers_are_an_error(values, found):
  with pytest.raises(DatasetError, match=f"key 'actions': expected numbers of at most 64 bits, got {found}"):
    read(task(actions=values[:, None]))


def test_rounding_beyond_the_bounds_is_clipped_and_noted():
  actions = np.array([[1.0000001], [-1.0000001], [1.0], [0.5]])
  imported = read(task(actions=actions), task(actions=actions))
  np.testing.assert_array_equal(imported.episodes[0].action[:, 0], np.array([1, -1, 1, 0.5], np.float32))
  assert imported.notes == ("tasks 0-1: actions: clipped 4 values that were beyond their bounds by rounding",)
  with pytest.raises(DatasetError, match=r"key 'actions': expected actions in \[-1, 1\] .*, got 1.00001 in row 1"):
    read(task(actions=np.array([[1.0], [1.00001], [0.0], [0.0]])))


def test_actions_are_divided_by_their_bound():
  actions = np.array([[2.0], [-1.0], [0.5], [2.0000001]])
  np.testing.assert_allclose(read(task(actions=actions), action_bound=2.0).episodes[0].action[:, 0], [1, -0.5, 0.25, 1])
  with pytest.raises(DatasetError, match=r"expected actions in \[-2, 2\] .*--action_bound=<bound>\), got 2.1 in row 0"):
    read(task(actions=actions + 0.1), action_bound=2.0)
