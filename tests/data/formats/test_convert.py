import hashlib
from pathlib import Path

import numpy as np
import pytest
from format_sources import DISCOUNT, TASKS, write_pickles

from macaw_jax.data.formats import FORMATS, ReadOptions, to_manifest
from macaw_jax.data.manifest import DatasetError, check_manifest
from macaw_jax.data.references import COLLECTED, MINARI, OWN_EXTREMES, References


@pytest.fixture
def imported(tmp_path):
  write_pickles(tmp_path / "source", TASKS)
  return FORMATS["pickle"].read([tmp_path / "source"], ReadOptions(discount=DISCOUNT))


def manifest_of(imported, **changes):
  arguments = {"family": "small", "train_tasks": [0, 1], "test_tasks": [2], "source": "pickle"}
  return to_manifest(imported, **(arguments | changes))


def test_the_manifest_names_files_and_their_digests(imported):
  manifest = manifest_of(imported)
  assert manifest.git_commit is None
  assert [entry["file"] for entry in manifest.behaviour["files"]] == [f"dataset_task_{task}.pkl" for task in range(3)]
  for path, entry in zip(imported.files, manifest.behaviour["files"], strict=True):
    assert entry["sha256"] == hashlib.sha256(Path(path).read_bytes()).hexdigest()


def test_reference_returns_are_those_of_the_data_where_none_are_given(imported):
  manifest = manifest_of(imported)
  reward = TASKS[0].reward.astype(np.float64)
  returns = [reward[:4].sum(), reward[4:6].sum(), reward[6], reward[7:].sum()]
  assert manifest.tasks[0].reference_returns == pytest.approx({"random": min(returns), "expert": max(returns)})
  assert manifest.references == {
    "random": "the lowest episode return of the task's own data",
    "expert": "the highest episode return of the task's own data",
  }


def test_given_reference_returns_are_used(imported):
  pairs = [{"random": -1.0, "expert": float(task)} for task in range(3)]
  manifest = manifest_of(imported, reference_returns=pairs)
  assert [entry.reference_returns for entry in manifest.tasks] == pairs
  assert manifest.references["random"] == "the random return given on import"
  with pytest.raises(DatasetError, match="expected one pair for each of 3 tasks, got 2"):
    manifest_of(imported, reference_returns=pairs[:2])


def test_references_of_the_source_are_used_where_all_tasks_have_the_same_kind(imported):
  stated = [References({"random": -1.0, "expert": float(task)}, MINARI) for task in range(3)]
  manifest = manifest_of(imported._replace(references=stated))
  assert [entry.reference_returns["expert"] for entry in manifest.tasks] == [0.0, 1.0, 2.0]
  assert manifest.references == MINARI
  pairs = [{"random": -2.0, "expert": 2.0}] * 3
  given = manifest_of(imported._replace(references=stated), reference_returns=pairs)
  assert [entry.reference_returns for entry in given.tasks] == pairs
  mixed = [*stated[:2], stated[2]._replace(texts=COLLECTED)]
  assert manifest_of(imported._replace(references=mixed)).references == OWN_EXTREMES


def test_sizes_discount_and_horizon_are_those_of_the_data_or_the_callers(imported):
  manifest = manifest_of(imported)
  assert (manifest.observation_size, manifest.action_size) == (3, 2)
  assert (manifest.discount, manifest.horizon) == (DISCOUNT, 5)
  manifest = manifest_of(imported, discount=0.9, horizon=7, seed=3)
  assert (manifest.discount, manifest.horizon, manifest.seed) == (0.9, 7, 3)
  with pytest.raises(DatasetError, match="the source states no discount"):
    manifest_of(imported._replace(discount=None))


def test_tasks_may_be_shared_by_splits(imported):
  assert not manifest_of(imported).tasks_shared_by_splits
  assert manifest_of(imported, test_tasks=[1]).tasks_shared_by_splits


def test_notes_are_kept(imported):
  assert manifest_of(imported._replace(notes=("dropped 3 rows",))).behaviour["notes"] == ["dropped 3 rows"]


def test_actions_that_are_all_small_are_noted(imported):
  assert manifest_of(imported).behaviour["notes"] == []
  small = [episodes._replace(action=0.1 * episodes.action) for episodes in imported.episodes]
  largest = 0.1 * max(np.abs(episodes.action).max() for episodes in TASKS)
  (note,) = manifest_of(imported._replace(episodes=small)).behaviour["notes"]
  assert note.startswith(f"no action is beyond {largest:.3g}; if the bounds")


def test_a_source_without_parameters_gives_a_manifest_that_can_be_stored(imported):
  assert imported.parameters == [{}, {}, {}]
  manifest = manifest_of(imported)
  assert manifest.tasks[0].num_transitions == 0  # `write_episodes` fills it in.
  with pytest.raises(DatasetError, match="file"):
    check_manifest(manifest, "manifest.json")


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"test_tasks": (1, 12)}, "--test_tasks: expected indices of tasks from 0 to 2, got 12"),
    (
      {"reference_returns": [{"random": 0.0, "expert": value} for value in (1.0, 2.0, float("nan"))]},
      "reference_returns of task 2: expected finite numbers, got ",
    ),
  ],
)
def test_what_a_manifest_could_not_say_names_what_was_given(imported, changes, message):
  with pytest.raises(DatasetError, match=message):
    manifest_of(imported, **changes)
