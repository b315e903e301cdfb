import pickle
from pathlib import Path

import numpy as np
import pytest
from format_sources import make_episodes, table, write_pickles

from macaw_jax.data.formats import FORMATS, ReadOptions
from macaw_jax.data.formats.files import given_paths
from macaw_jax.data.manifest import DatasetError


@pytest.fixture
def folder(tmp_path):
  """Twelve tasks of which the second column of the observation says which they are."""
  write_pickles(tmp_path / "data", [make_episodes((3, 3), task=task) for task in range(12)])
  return tmp_path / "data"


def tasks_of(*sources, **options):
  imported = FORMATS["pickle"].read([Path(source) for source in sources], ReadOptions(**options))
  return [int(episodes.observation[0, 1]) for episodes in imported.episodes]


def test_sources_are_a_folder_paths_or_patterns_in_natural_order(folder):
  assert tasks_of(folder) == list(range(12))
  assert tasks_of(folder / "*.pkl") == list(range(12))
  assert tasks_of(folder / "dataset_task_1?.pkl") == [10, 11]
  assert tasks_of(folder / "dataset_task_1?.pkl", folder / "dataset_task_[0-2].pkl") == [10, 11, 0, 1, 2]
  assert tasks_of(folder / "dataset_task_7.pkl", folder / "dataset_task_3.pkl") == [7, 3]


def test_a_path_may_have_a_comma_and_what_looks_like_a_pattern(folder):
  for name in ("a,b.pkl", "[1].pkl"):
    path = (folder / "dataset_task_5.pkl").rename(folder / name)
    assert tasks_of(path) == [5]
    path.rename(folder / "dataset_task_5.pkl")


def test_patterns_that_match_nothing_or_one_file_twice_are_an_error(folder):
  with pytest.raises(DatasetError, match=r"source: expected files that match .*task_\*\.pt, found none"):
    given_paths([folder / "task_*.pt"])
  with pytest.raises(DatasetError, match="source: expected each path once"):
    given_paths([folder / "*.pkl", folder / "dataset_task_3.pkl"])


def test_files_beside_the_tasks_that_are_named_elsewhere_are_no_task(folder):
  goals = folder / "task_goals.pkl"
  goals.write_bytes(pickle.dumps([{"speed": float(task)} for task in range(12)]))
  imported = FORMATS["pickle"].read([folder], ReadOptions(tasks_file=goals, beside=(goals,)))
  assert [task["speed"] for task in imported.parameters] == list(range(12))
  assert len(imported.files) == 13


def test_a_file_that_is_no_task_is_named_with_a_pattern_of_those_that_are(folder):
  (folder / "dataset_task_prompt0.pkl").write_bytes(pickle.dumps([{"rewards": np.zeros(3)}]))
  hint = r"prompt0\.pkl: expected a dict of arrays, got list\. If the file is no task, .*: --source '(.*)'$"
  with pytest.raises(DatasetError, match=hint) as error:
    tasks_of(folder)
  pattern = str(error.value).split("'")[-2]
  assert pattern == str(folder / "dataset_task_[0-9]*.pkl")
  assert tasks_of(pattern) == list(range(12))


def test_a_damaged_task_named_like_the_others_gets_no_such_hint(folder):
  (folder / "dataset_task_3.pkl").write_bytes(pickle.dumps(table(make_episodes((2,)))["rewards"]))
  with pytest.raises(DatasetError, match=r"dataset_task_3\.pkl: expected a dict of arrays, got ndarray$"):
    tasks_of(folder)
