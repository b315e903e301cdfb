"""Datasets as tables, and their returns over the collection as a picture."""

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from macaw_jax.data.agreement import Check
from macaw_jax.data.calibration import SUPPORT_ROWS, Calibration
from macaw_jax.data.dataset import Episodes
from macaw_jax.data.explanation import Explained
from macaw_jax.data.identifiability import Identifiability
from macaw_jax.data.inspection import (
  DatasetFiles,
  EntrySummary,
  TaskSummary,
  episode_returns,
  parameter_vectors,
  quantiles_over_collection,
  running_median,
)
from macaw_jax.data.manifest import Manifest
from macaw_jax.data.overlap import NUM_ROWS, Overlap
from macaw_jax.data.references import scale_faults, scale_text
from macaw_jax.evaluation.tables import describe_task, plain_table

OUTCOMES = {"rewards": "rewards", "physics": "changes of state"}  # by what the tasks of a family differ in
LONGEST_TEXT = 28
FEW_TASKS = 6  # as many have a legend and their references
MOST_GOALS = 8  # of test tasks whose explanations are drawn into one plane
MOST_PARTS = 40  # of the collection, where a band is drawn; each has several episodes of each task


def list_table(found: Mapping[Path, DatasetFiles]) -> str:
  """One line a dataset."""
  headings = ("directory", "family", "train/test tasks", "transitions", "episodes", "discount", "MB", "created")
  rows = [
    (
      str(directory),
      manifest.family,
      f"{len(manifest.train_tasks)}/{len(manifest.test_tasks)} of {len(manifest.tasks)}",
      f"{sum(entry.num_transitions for entry in manifest.tasks):,}",
      f"{sum(entry.num_episodes for entry in manifest.tasks):,}",
      f"{manifest.discount:g}",
      f"{size / 1e6:.1f}",
      manifest.created,
    )
    for directory, (manifest, size) in found.items()
  ]
  return plain_table(headings, rows, left=2)


def header(directory: Path, manifest: Manifest) -> str:
  """The manifest's values for the whole dataset."""
  shared = ", tasks shared by both" if manifest.tasks_shared_by_splits else ""
  behaviour = {name: value for name, value in manifest.behaviour.items() if isinstance(value, str | int | float)}
  return "\n".join(
    [
      f"{directory}: {manifest.family}, {len(manifest.tasks)} tasks "
      f"({len(manifest.train_tasks)} train, {len(manifest.test_tasks)} test{shared})",
      f"{sum(entry.num_transitions for entry in manifest.tasks):,} transitions in "
      f"{sum(entry.num_episodes for entry in manifest.tasks):,} episodes of at most {manifest.horizon} steps; "
      f"observation {manifest.observation_size}, action {manifest.action_size}, discount {manifest.discount:g}",
      f"created {manifest.created}, seed {manifest.seed}, commit {manifest.git_commit or 'unknown'}",
      *(f"{name}: {value}" for name, value in behaviour.items()),
      scale_text(manifest.references),
      *scale_faults([entry.reference_returns for entry in manifest.tasks]),
    ]
  )


def tasks_table(manifest: Manifest, summaries: Sequence[TaskSummary]) -> str:
  """One line a task, below it what the columns mean."""
  titles = "task split parameters transitions episodes steps min 25% median 75% max random expert observation bad"
  headings = [*titles.split(), "collected at", "thirds %"]
  rows = []
  for index, (entry, summary) in enumerate(zip(manifest.tasks, summaries, strict=True)):
    splits = [name for name in ("train", "test") if index in getattr(manifest, f"{name}_tasks")]
    rows.append(
      [
        str(index),
        "+".join(splits) or "none",
        _cut(describe_task(entry.parameters)),
        f"{summary.transitions:,}",
        f"{summary.episodes:,}",
        _span(f"{summary.shortest}", f"{summary.longest}"),
        *(f"{value:.4g}" for value in summary.returns),
        *(f"{entry.reference_returns[name]:.4g}" for name in ("random", "expert")),
        _span(f"{summary.lowest:.3g}", f"{summary.highest:.3g}"),
        str(sum(summary.non_finite.values())),
        _span(f"{summary.first:,}", f"{summary.last:,}"),
        " ".join(f"{100 * share:.0f}" for share in summary.thirds),
      ]
    )
  legend = (
    "steps: shortest to longest episode; min to max: quantiles of the episodes' undiscounted returns; random, expert: "
    "returns of scores 0 and 100; observation: range over all entries; bad: values that are not finite; collected at: "
    "environment steps of the whole collection when the first and the last episode began; thirds: share of transitions "
    "from each third of it"
  )
  return f"{plain_table(headings, rows, left=3)}\n{textwrap.fill(legend, 120)}"


def entries_table(summary: EntrySummary) -> str:
  """One line an entry of the observation."""
  rows = []
  for index in range(len(summary.mean)):
    numbers = (summary.lowest[index], summary.mean[index], summary.std[index], summary.highest[index])
    rows.append([str(index), *(f"{number:.4g}" for number in numbers), str(summary.non_finite[index])])
  return plain_table(["entry", "min", "mean", "std", "max", "bad"], rows)


def identifiability_table(result: Identifiability, *, with_distance: bool) -> str:
  """One line a number of transitions: accuracy, rank, and distance where tasks have parameters to compare."""
  measures = {"accuracy": ".3f", "rank": ".2f"} | ({"distance": ".3g"} if with_distance else {})
  kinds = ("everything", "behaviour", "chance")
  headings = [f"{'' if number else f'{name}:'}\n{kind}" for name in measures for number, kind in enumerate(kinds)]
  rows = [
    [str(count)]
    + [f"{getattr(getattr(result, kind), name)[index]:{form}}" for name, form in measures.items() for kind in kinds]
    for index, count in enumerate(result.num_transitions)
  ]
  legend = (
    "accuracy: share of right guesses of a probe; rank: place of the task in the order of likelihood, 1 the first; "
    "distance: of the guess's parameters to the task's. everything: from state, action, reward, next state; behaviour: "
    "from state and action alone, far above chance where the collector's policy gives the task away"
  )
  table = plain_table(["\nk", *headings], rows)
  return f"how well k transitions tell the task\n{table}\n{textwrap.fill(legend, 120)}"


def overlap_text(result: Overlap, differ_in: str) -> str:
  """Whether pairs of tasks are told apart where their policies overlap, in two sentences."""
  told, shared = result.told_apart, result.shared[~np.eye(len(result.shared), dtype=bool)]
  first, second = result.least
  evidence = min(result.evidence[first, second], result.evidence[second, first])
  text = (
    f"by {OUTCOMES[differ_in]}, where policies overlap: {NUM_ROWS} transitions tell {told.sum()} of {len(told)} pairs "
    f"of tasks apart; least tasks {first} and {second}, by {evidence:.1f} nats, where two halves of one task's data "
    f"differ by {np.median(np.diag(result.evidence)):.1f}. The data "
    f"of a task cover {100 * np.median(shared):.0f} % of another's in the median, {100 * shared.min():.0f} % at least. "
    "A pair that is not told apart here cannot be told apart from data of the other task's policy."
  )
  return textwrap.fill(text, 120)


def calibration_text(result: Calibration, differ_in: str) -> str:
  """How well a task is inferred that no model was fitted to."""
  text = (
    f"{OUTCOMES[differ_in]} of every fifth task, inferred by a model of the others from {SUPPORT_ROWS} transitions of "
    f"its own: R^2 {result.r_squared:.2f} from all of them, {result.r_squared_of_worst:.2f} from the worst-paid fifth."
  )
  return textwrap.fill(text, 120)


def explanation_table(manifest: Manifest, found: Mapping[str, Explained], differ_in: str, support_size: int) -> str:
  """One line a source of supports, below it what the columns mean."""
  headings = ["supports", "distance", "nearest", "R^2", "within 90 %", "kept %", "silent %"]
  vectors, rows = parameter_vectors(manifest), []
  for name, explained in found.items():
    distances = ["-", "-"]
    if vectors is not None:
      train, test = vectors[list(manifest.train_tasks)], vectors[list(manifest.test_tasks)]
      inferred = explained.shares @ train  # [T, S, P]
      nearest = np.linalg.norm(test[:, None] - train, axis=-1).min(axis=1)
      distances = [f"{np.linalg.norm(inferred - test[:, None], axis=-1).mean():.3g}", f"{nearest.mean():.3g}"]
    shares = (explained.within, explained.is_kept, explained.is_silent)
    rows.append(
      [
        name.replace("_", " "),
        *distances,
        f"{np.median(explained.r_squared):.2f}",
        *(f"{100 * np.mean(values):.0f}" for values in shares),
      ]
    )
  text = (
    f"{found['own'].is_kept.shape[1]} supports of {support_size} transitions of each test task, explained by training "
    "tasks. distance: of the mean of their parameters to the task's own, in their own units, and that of the nearest "
    f"training task; R^2: of the {OUTCOMES[differ_in]} that are inferred for the task's own transitions, median over "
    "tasks and supports; within: share of them that 90 % intervals hold; kept: supports that no mixture explains "
    f"and that are as well paid, which an agent adapts to as they are; silent: {OUTCOMES[differ_in]} are all the same"
  )
  return f"{plain_table(headings, rows)}\n{textwrap.fill(text, 120)}"


def plot_explanation(path: Path, manifest: Manifest, found: Mapping[str, Explained]) -> None:
  """Draws which training tasks explain supports of the test tasks, a panel a source.

  A disc is a training task, and its area the mean share that it has in supports of a test task. Tasks of one number are
  drawn over the test task's, with a line where both are equal; of those of two numbers a colour is a test task, and a
  star its place.

  Raises:
    ImportError: matplotlib is not installed.
  """
  from matplotlib.figure import Figure

  vectors = parameter_vectors(manifest)
  assert vectors is not None
  train, test = vectors[list(manifest.train_tasks)], vectors[list(manifest.test_tasks)]
  name, is_plane = next(iter(manifest.tasks[0].parameters)), vectors.shape[1] == 2
  figure = Figure(figsize=(3.2 * len(found), 3.6), layout="constrained")
  panels = figure.subplots(1, len(found), sharex=True, sharey=True, squeeze=False)[0]
  for axes, (source, explained) in zip(panels, found.items(), strict=True):
    shares = explained.shares.mean(axis=1)  # [T, K]
    shown = range(min(len(test), MOST_GOALS if is_plane else len(test)))
    if is_plane:
      axes.scatter(*train.T, s=4, color="lightgrey")
      axes.set_aspect("equal")
    else:
      axes.axline((float(test.min()),) * 2, slope=1.0, color="grey", linewidth=0.8)
    for number, task in enumerate(shown):
      places = train.T if is_plane else (np.full(len(train), test[task, 0]), train[:, 0])
      axes.scatter(*places, s=300 * shares[task], color=f"C{number % 10}", alpha=0.5, linewidth=0)
      if is_plane:
        axes.scatter(*test[task], marker="*", s=90, color=f"C{number % 10}", edgecolor="k", linewidth=0.6)
    axes.set(title=source.replace("_", " "), xlabel=name if is_plane else f"{name} of a test task")
  panels[0].set_ylabel(name if is_plane else f"{name} of training tasks")
  figure.suptitle(f"{manifest.family}: training tasks that explain supports, by who collected them")
  figure.savefig(path, dpi=120)


def agreement_table(checks: Sequence[Check]) -> str:
  """One line a check."""
  return plain_table(Check._fields, [list(check) for check in checks], left=4)


def plot_returns(path: Path, manifest: Manifest, episodes_by_task: Sequence[Episodes]) -> None:
  """Draws the return of each episode over the collection, a curve a task.

  Few tasks have dots for their episodes, a running median, and their references as horizontal marks; of many tasks
  there are the medians, with median and band over all tasks. Where a single number makes a task, it decides the colour.

  Raises:
    ImportError: matplotlib is not installed.
  """
  from matplotlib import colormaps
  from matplotlib.cm import ScalarMappable
  from matplotlib.colors import Normalize
  from matplotlib.figure import Figure

  num_tasks = len(manifest.tasks)
  few = num_tasks <= FEW_TASKS
  vectors = parameter_vectors(manifest)
  scalar = vectors[:, 0] if vectors is not None and vectors.shape[1] == 1 else None
  figure = Figure(figsize=(9, 5), layout="constrained")
  axes = figure.subplots()
  returns = [episode_returns(episodes) for episodes in episodes_by_task]

  if few:
    colours: Any = [f"C{task}" for task in range(num_tasks)]
  elif scalar is not None:
    scale = ScalarMappable(Normalize(float(scalar.min()), float(scalar.max())), colormaps["viridis"])
    colours = scale.to_rgba(scalar)
    figure.colorbar(scale, ax=axes, label=next(iter(manifest.tasks[0].parameters)))
  else:
    colours = ["C0"] * num_tasks

  for task, (entry, episodes, values) in enumerate(zip(manifest.tasks, episodes_by_task, returns, strict=True)):
    steps, colour = episodes.collected_at, colours[task]
    label = _cut(describe_task(entry.parameters)) or f"task {task}"
    median = running_median(values, max(3, len(values) // 15))
    if not few:
      axes.plot(steps, median, color=colour, linewidth=0.8, alpha=0.25 if scalar is None else 0.6)
      continue
    axes.plot(steps, values, ".", color=colour, markersize=3, alpha=0.35)
    axes.plot(steps, median, color=colour, linewidth=1.8, label=label)
    for name, style in (("expert", "--"), ("random", ":")):
      axes.axhline(entry.reference_returns[name], color=colour, linestyle=style, linewidth=1.0, alpha=0.8)
  if few:
    for name, style, score in (("expert", "--", 100), ("random", ":", 0)):
      axes.plot([], [], f"k{style}", linewidth=1.0, label=f"score {score}: {manifest.references[name]}")
  else:
    all_steps = np.concatenate([episodes.collected_at for episodes in episodes_by_task])
    parts = max(1, min(MOST_PARTS, min(map(len, returns)) // 3))
    centres, (low, middle, high) = quantiles_over_collection(all_steps, np.concatenate(returns), (0.1, 0.5, 0.9), parts)
    axes.fill_between(centres, low, high, color="k", alpha=0.12, linewidth=0, label="10 % to 90 % of all episodes")
    axes.plot(centres, middle, color="k", linewidth=2.0, label=f"median of {num_tasks} tasks")
  axes.set(
    xlabel="environment steps of the collection",
    ylabel="episode return",
    title=f"{manifest.family}: {sum(map(len, returns)):,} episodes of {num_tasks} tasks",
  )
  axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
  axes.margins(x=0.02)
  axes.grid(alpha=0.3)
  axes.legend(fontsize="small")
  figure.savefig(path, dpi=120)


def _cut(text: str) -> str:
  return text if len(text) <= LONGEST_TEXT else text[: LONGEST_TEXT - 3] + "..."


def _span(low: str, high: str) -> str:
  return low if low == high else f"{low} to {high}"
