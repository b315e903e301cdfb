"""docs/own_data.md: its script and its commands run, and say what the page says."""

import pathlib
import pickle
import re
import shlex

import numpy as np
import pytest
from child_processes import run_python

from macaw_jax.data.dataset import next_observations, read_episodes
from macaw_jax.data.manifest import read_manifest

ROOT = pathlib.Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "own_data.md").read_text()
# Of the commands that train and evaluate.
SMALL = {
  "run": "training.steps=2 training.log_every=1 training.evaluate_every=2 training.checkpoint_every=2 "
  "training.support_size=16 training.query_size=16 evaluation.support_size=16 evaluation.episodes=1 "
  "algorithm.layer=dense algorithm.hidden_sizes=(8,8)",
}


def blocks():
  """The blocks of the page that are no Python."""
  return [text for language, text in re.findall(r"```(\w*)\n(.*?)```", PAGE, re.DOTALL) if not language]


def commands():
  """The arguments of `python` of each command, in the order of the page."""
  lines = [line for block in blocks() for line in block.replace("\\\n", "").splitlines()]
  return [shlex.split(line)[1:] for line in lines if line.startswith("python ")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  """A working directory with the script of the page and what it has made."""
  folder = tmp_path_factory.mktemp("own")
  ((name, text),) = re.findall(r"`(\w+\.py)`:\n\n```python\n(.*?)```", PAGE, re.DOTALL)
  (folder / name).write_text(text)
  (folder / "configs").symlink_to(ROOT / "configs")
  run_python(folder, *commands()[0])
  return folder


def test_a_stranger_looks_checks_trains_and_evaluates(folder):
  said = {}
  first = commands()[1:6]
  for _, module, *arguments in first:
    command = module.removeprefix("experiments.")
    small = [f"--config.{field}" for field in SMALL.get(command, "").split()]
    if command == "evaluate":  # One of the four kinds of support: each compiles programs of its own.
      assert arguments.pop() == "--support=all"
      small = ["--support=other_policies", "--steps=0,1", "--episodes=1"]
    key = arguments[0] if command == "data" else command
    said[key] = run_python(folder, "-m", module, *arguments, *small)
  assert list(said) == ["inspect", "validate", "other_policies", "run", "evaluate"]
  assert "36,000 transitions in 1,800 episodes of at most 20 steps" in said["inspect"]
  (table,) = (block for block in blocks() if block.startswith("agreement"))
  names = [line.split("  ")[0] for line in table.splitlines()[2:]]
  assert [line.split("  ")[0] for line in said["validate"].splitlines() if line.endswith(" agrees")] == names
  for line in PAGE.splitlines():
    if line.startswith(("score 0:", "by the data:")):
      assert line.removesuffix("...") in said["run"]
  assert "test mean of 5 tasks" in said["evaluate"]


def test_the_files_of_the_page_are_imported(folder):
  manifest = read_manifest(folder / "data/walks")
  logs = folder / "logs"
  logs.mkdir()
  goals = [",".join(map(str, task.parameters["goal"])) for task in manifest.tasks]
  (logs / "goals.csv").write_text("\n".join(["goal_0,goal_1", *goals]))
  for task in range(len(manifest.tasks)):
    episodes = read_episodes(folder / "data/walks", manifest, task)
    content = {"observations": episodes.observation, "actions": episodes.action, "rewards": episodes.reward}
    content |= {"next_observations": next_observations(episodes), "terminals": np.zeros(len(episodes.reward), bool)}
    (logs / f"task_{task}.pkl").write_bytes(pickle.dumps(content))
  said = run_python(folder, *commands()[6])
  (expected,) = (block for block in blocks() if block.startswith("wrote"))
  assert said.endswith(expected)
  found = read_manifest(folder / "data/walks_of_files")
  assert [task.parameters for task in found.tasks] == [task.parameters for task in manifest.tasks]
  assert [task.sha256 for task in found.tasks] == [task.sha256 for task in manifest.tasks]
