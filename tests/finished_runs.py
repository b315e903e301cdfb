"""Rows and finished runs for tests of whatever reads them."""

import json
from pathlib import Path

from macaw_jax.evaluation.comparison import group_runs
from macaw_jax.evaluation.results import METRICS, RESULTS, FinishedRun, results_document
from macaw_jax.evaluation.rows import Row

# A score for each protocol.
EVERYTHING = {"offline": 50.0, "offline_other_policy": 40.0, "offline_random_policy": 30.0, "online": 10.0}


def make_row(returns=(-30.0, -10.0), scores=None, **fields):
  """A row of a test task with these means, at the stages before and after adaptation."""
  defaults = {
    "protocol": "offline",
    "split": "test",
    "task_index": 3,
    "task": {"goal": [0.25, -1.0]},
    "support": 16,
    "support_unit": "transitions",
    "stages": tuple(range(len(returns))),
    "stage_unit": "adaptations" if len(returns) == 2 else "episodes",
    "episodes": 2,
    "stds": (0.0,) * len(returns),
  }
  return Row(returns=tuple(returns), scores=None if scores is None else tuple(scores), **defaults | fields)


def scored_rows(scores, **fields):
  """A row a test task, its score after adaptation as given and 0 before; returns are the same numbers."""
  return [
    make_row((0.0, score), (0.0, score), task_index=index, task={"speed": 0.5 * index}, **fields)
    for index, score in enumerate(scores)
  ]


def make_run(seed, rows, name="run", algorithm="macaw", variant="", family="cheetah", steps=None, **settings):
  """A finished run; settings are those of its algorithm."""
  config = {"seed": seed, "output_directory": f"runs/{seed}", "algorithm": {"name": algorithm, **settings}}
  return FinishedRun(Path(f"{name}-{seed}"), algorithm, variant, family, seed, config, tuple(rows), steps)


def write_run(directory, run, curve=(), **fields):
  """Writes what a run leaves: its results, with other fields where given, and its metrics of `curve`."""
  directory.mkdir(parents=True, exist_ok=True)
  document = results_document(run, step=10, seconds=1.5)
  (directory / RESULTS).write_text(json.dumps(document | fields, allow_nan=False))
  lines = [json.dumps({"step": step, "wall_time": 1.0, **metrics}) + "\n" for step, metrics in curve]
  (directory / METRICS).write_text("".join(lines))


def shift_run(seed, values, with_scores=True, **fields):
  """A run evaluated by several protocols, its scores on two test tasks the given ones and ten more."""
  rows = []
  for protocol, value in values.items():
    for task, score in enumerate((value, value + 10.0)):
      online = [score + count for count in range(1, 4)] if protocol == "online" else [score]
      stages = (1.0, *online)
      rows.append(make_row(stages, stages if with_scores else None, protocol=protocol, task_index=task))
  return make_run(seed, rows, **fields)


def shift_groups():
  """Two groups, of two seeds and of one, which lacks supports of other policies."""
  without = {name: value for name, value in EVERYTHING.items() if name != "offline_other_policy"}
  return group_runs(
    [
      shift_run(0, EVERYTHING, algorithm="focal"),
      shift_run(1, {name: value + 2.0 for name, value in EVERYTHING.items()}, algorithm="focal"),
      shift_run(0, without),
    ]
  )
