"""Results for people: a table in the terminal, a learning curve as a picture."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from experiments.command_line import say
from macaw_jax.envs.family import State, TaskFamily
from macaw_jax.evaluation.protocols import Row, mean_row
from macaw_jax.evaluation.render import RenderingUnavailable, render_gif

SUPPORTS = {  # by protocol
  "offline": "of each task's own data",
  "offline_other_policy": "that were acted in each task for other tasks",
  "offline_random_policy": "of a random policy in each task",
  "online": "of the agent's own episodes in each task",
}
BEFORE, AFTER = "return_before", "return_after"  # of adaptation; among metrics those of training tasks
MOST_TASKS_SHOWN = 5
MOST_TASKS_LISTED = 50  # in a table, and as metrics of their own
MOST_NUMBERS_SHOWN = 3  # of one parameter of a task


def by_split(rows: Sequence[Row]) -> dict[str, list[Row]]:
  """The rows of each split, in their order."""
  splits = dict.fromkeys(row["split"] for row in rows)
  return {split: [row for row in rows if row["split"] == split] for split in splits}


def means_by_split(rows: Sequence[Row]) -> dict[str, dict[str, float]]:
  """Mean returns, and scores if there are any, over the tasks of each split."""
  return {split: mean_row(of_split) for split, of_split in by_split(rows).items()}


def evaluation_metrics(rows: Sequence[Row]) -> dict[str, float]:
  """An evaluation as metrics: `<split>/<mean>`, and `metrics_of_tasks`."""
  metrics: dict[str, float] = {}
  for split, means in means_by_split(rows).items():
    metrics |= {f"{split}/{name}": value for name, value in means.items()}
  return metrics | metrics_of_tasks(rows)


def metrics_of_tasks(rows: Sequence[Row]) -> dict[str, float]:
  """`<split>/task_<index>/return_after` of each task, of splits of few."""
  return {
    f"{split}/task_{row['task_index']}/return_after": row["return_after"]
    for split, of_split in by_split(rows).items()
    if len(of_split) <= MOST_TASKS_LISTED
    for row in of_split
  }


def summary(rows: Sequence[Row]) -> str:
  """An evaluation in one line; single tasks where they are few."""
  parts = []
  for split, of_split in by_split(rows).items():
    mean = mean_row(of_split)
    changes = [f"{name} {mean[f'{name}_before']:.1f} -> {mean[f'{name}_after']:.1f}" for name in quantities(mean)]
    part = f"{split} {', '.join(changes)}"
    if 1 < len(of_split) <= MOST_TASKS_SHOWN:
      tasks = [f"{task_name(row)}: {row['return_after']:.1f}" for row in of_split]
      part += f" ({', '.join(tasks)})"
    parts.append(part)
  return "; ".join(parts)


def results_table(rows: Sequence[Row]) -> str:
  """Per task, unless there are many, and in the mean: return and normalised score, before adaptation and after."""
  first = rows[0]
  names = quantities(first)
  scale = "; score 0 is a random policy, 100 the task's expert" if "score" in names else ""
  lines = [
    f"protocol {first['protocol']}: {describe_support(first)} to adapt to; mean of {first['episodes']} episodes",
    f"before -> after adaptation{scale}",
    f"{'':<40}" + "".join(f"{name:>20}" for name in names),
    f"{'task':<40}" + f"{'before':>10}{'after':>10}" * len(names),
  ]
  for split, of_split in by_split(rows).items():
    if len(of_split) <= MOST_TASKS_LISTED:
      lines += [_line(f"{split} {row['task_index']}  {describe_task(row['task'])}", row) for row in of_split]
    if len(of_split) > 1:
      lines.append(_line(f"{split} mean of {len(of_split)} tasks", mean_row(of_split)))
    lines += _by_episodes(split, of_split)
  return "\n".join(lines)


def quantities(row: Mapping[str, Any]) -> list[str]:
  """What a row has before and after adaptation: return, and score where returns of reference are known."""
  return [name for name in ("return", "score") if f"{name}_before" in row]


def describe_support(row: Row) -> str:
  """What the agent of a row adapted to."""
  if "support_episodes" in row:
    return f"{row['support_episodes']} episodes of the agent's own in each task"
  return f"{row['support_size']} transitions {SUPPORTS[row['protocol']]}"


def steps_table(rows: Sequence[Row]) -> str:
  """Per task and in the mean, the return after each number of adaptation steps, and the mean normalised score."""
  steps = list(dict.fromkeys(row["adaptation_steps"] for row in rows))
  tasks = {row["task_index"]: row["task"] for row in rows}

  def line(label: str, values: Sequence[float]) -> str:
    return f"{label[:39]:<40}" + "".join(f"{value:>10.1f}" for value in values)

  def values(name: str, task_index: int) -> list[float]:
    return [row[name] for row in rows if row["task_index"] == task_index]

  lines = [
    f"protocol {rows[0]['protocol']}: return after n adaptation steps, mean of {rows[0]['episodes']} episodes",
    f"{'task':<37}n =" + "".join(f"{number:>10}" for number in steps),
  ]
  lines += [line(f"{index}  {describe_task(task)}", values("return", index)) for index, task in tasks.items()]
  for name, label in (("return", "mean return"), ("score", "mean score (0 random, 100 expert)")):
    lines.append(line(label, list(np.mean([values(name, index) for index in tasks], axis=0))))
  return "\n".join(lines)


def task_name(row: Mapping[str, Any]) -> str:
  """A task by its parameters, or by its number where they are too many."""
  return describe_task(row["task"]) or f"task {row['task_index']}"


def describe_task(task: Mapping[str, Any]) -> str:
  """`direction=1`, `goal=0.2,-0.4`: a task's parameters in short, without those of many numbers."""
  return " ".join(f"{name}={_numbers(value)}" for name, value in task.items() if np.size(value) <= MOST_NUMBERS_SHOWN)


def draw_episode(family: TaskFamily, states: State, path: str | Path, **options: Any) -> None:
  """Draws an episode as `render_gif` does, or says why there is no picture."""
  try:
    render_gif(family, states, path, **options)
  except RenderingUnavailable as error:
    say(f"no picture of an episode: {error}")


def plot_learning_curve(rows: Sequence[Mapping[str, Any]], path: Path, title: str) -> None:
  """Draws test returns over updates from the rows of `metrics.jsonl`, beside losses or returns in training.

  Raises:
    ImportError: matplotlib is not installed.
  """
  from matplotlib.figure import Figure

  figure = Figure(figsize=(10, 4), layout="constrained")
  training, test = figure.subplots(1, 2)
  figure.suptitle(title)
  if any(BEFORE in row for row in rows):  # An agent that acts in order to learn has no loss that says how it does.
    _draw_returns(training, rows, "")
    training.set(xlabel="meta-updates", ylabel="return, mean over the tasks of updates")
  else:
    for name in dict.fromkeys(name for row in rows for name in row if name.endswith("loss")):
      _draw(training, rows, name, name)
    training.set(xlabel="meta-updates", ylabel="loss", yscale="symlog")
  _draw_returns(test, rows, "test/")
  test.set(xlabel="meta-updates", ylabel="return, mean over test tasks")
  for axes in (training, test):
    axes.grid(alpha=0.3)
    axes.legend()
  figure.savefig(path, dpi=120)


def _draw_returns(axes: Any, rows: Sequence[Mapping[str, Any]], prefix: str) -> None:
  for name, label in ((BEFORE, "before adaptation"), (AFTER, "after adaptation")):
    _draw(axes, rows, f"{prefix}{name}", label)


def _draw(axes: Any, rows: Sequence[Mapping[str, Any]], name: str, label: str) -> None:
  points = [(row["step"], row[name]) for row in rows if row.get(name) is not None]
  axes.plot(*zip(*points, strict=True), label=label, marker="." if len(points) < 30 else None)


def _line(label: str, row: Mapping[str, float]) -> str:
  values = [row[f"{name}_{side}"] for name in quantities(row) for side in ("before", "after")]
  return f"{label[:39]:<40}" + "".join(f"{value:>10.1f}" for value in values)


def _by_episodes(split: str, rows: Sequence[Row]) -> list[str]:
  """Mean return and score of a split after k episodes of the agent's own, where rows have them."""
  if "returns_by_episodes" not in rows[0]:
    return []
  counts = range(len(rows[0]["returns_by_episodes"]))
  lines = [f"{split}, after k episodes:".ljust(37) + "k =" + "".join(f"{count:>10}" for count in counts)]
  for name in ("return", "score"):
    means = np.mean([row[f"{name}s_by_episodes"] for row in rows], axis=0)
    lines.append(f"{split} mean {name}".ljust(40) + "".join(f"{value:>10.1f}" for value in means))
  return lines


def _numbers(value: Any) -> str:
  return ",".join(map(_numbers, value)) if isinstance(value, list | tuple) else f"{value:.4g}"
