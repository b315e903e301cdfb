"""Results as pictures, by matplotlib, which is imported when one is drawn.

All functions raise `ImportError` where it is not installed, `OSError` where the file cannot be written, and
`ValueError` where its ending is that of no known format.
"""

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from macaw_jax.evaluation.comparison import Curve, Group, quantity_of
from macaw_jax.evaluation.context_shift import ONLINE, headings_of, shift_columns
from macaw_jax.evaluation.scales import scales_of
from macaw_jax.evaluation.statistics import mean, stratified_bootstrap

BEFORE, AFTER = "return_before", "return_after"  # of adaptation; without a split those of the tasks of updates
FEW_POINTS = 30  # as many are marked
MOST_CHARACTERS_INSIDE = 30  # of a label in a legend among the curves
MOST_CHARACTERS = 60  # of a line beside an axis
AXIS_LABELS = {"score": "normalised score", "return": "return"}


def plot_learning_curve(rows: Sequence[Mapping[str, Any]], path: str | Path, title: str) -> None:
  """Draws one run over its updates: losses, or where it has none that tell returns in training, beside test returns.

  Args:
    rows: of `metrics.jsonl`.
    path: of the picture.
    title: above it.
  """
  from matplotlib.figure import Figure

  figure = Figure(figsize=(10, 4), layout="constrained")
  training, test = figure.subplots(1, 2)
  figure.suptitle(title)
  if any(BEFORE in row for row in rows):  # The surrogate losses of on-policy agents do not tell how well they do.
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
    if axes.get_legend_handles_labels()[0]:  # A run of a few updates has no curve yet.
      axes.legend()
  figure.savefig(path, dpi=120)


def plot_comparison(curves: Sequence[Curve], path: str | Path) -> None:
  """Draws learning curves, a panel for each family: the mean over seeds, and between which values they lie.

  Solid lines are after adaptation, dashed ones before. They are drawn over environment steps where all curves of the
  panel have them, else over updates.
  """
  from matplotlib.figure import Figure

  families = list(dict.fromkeys(curve.family for curve in curves))
  figure = Figure(figsize=(7 * len(families), 4.5), layout="constrained")
  for axes, family in zip(figure.subplots(1, len(families), squeeze=False)[0], families, strict=True):
    shown = [curve for curve in curves if curve.family == family]
    over_steps = all(curve.environment_steps is not None for curve in shown)
    for number, curve in enumerate(shown):
      x, colour = curve.environment_steps if over_steps else curve.updates, f"C{number % 10}"
      axes.plot(x, curve.before.mean(axis=0), color=colour, linestyle="--", linewidth=1, alpha=0.7)
      axes.plot(x, curve.after.mean(axis=0), color=colour, label=curve.label)
      axes.fill_between(x, curve.after.min(axis=0), curve.after.max(axis=0), color=colour, alpha=0.2, linewidth=0)
    axes.plot([], [], color="grey", linestyle="--", linewidth=1, label="before adaptation")
    axes.set(
      title=family,
      xlabel="environment steps" if over_steps else "meta-updates",
      ylabel=_axis_label(shown[0].quantity, [scale for curve in shown for scale in curve.scales]),
    )
    axes.grid(alpha=0.3)
    _place_legend(axes, [curve.label for curve in shown])
  figure.savefig(path, dpi=120)


def plot_shift(groups: Sequence[Group], path: str | Path) -> None:
  """Draws the columns of `shift_columns` with their intervals, a colour a group; a line joins own episodes."""
  from matplotlib.figure import Figure

  of_groups = shift_columns(groups)
  headings = headings_of(of_groups)
  figure = Figure(figsize=(10, 4.5), layout="constrained")
  axes = figure.subplots()
  for index, (group, columns) in enumerate(zip(groups, of_groups, strict=True)):
    # Beside each other, so that no interval hides another.
    offset, colour = 0.06 * (index - (len(groups) - 1) / 2), f"C{index % 10}"
    places = np.array([place for place, name in enumerate(headings) if name in columns]) + offset
    shown = [name for name in headings if name in columns]
    estimates, low, high = np.array([stratified_bootstrap(columns[name], mean) for name in shown]).T
    axes.errorbar(
      places, estimates, (estimates - low, high - estimates), label=group.label, fmt="o", color=colour, capsize=3
    )
    # The kinds of support have no order; the agent's own episodes have.
    online = [name.startswith(ONLINE) for name in shown]
    axes.plot(places[online], estimates[online], color=colour, linewidth=1)
  quantity = quantity_of(groups)
  if quantity == "score":
    axes.axhline(0.0, color="grey", linewidth=0.8)
  families = dict.fromkeys(group.family for group in groups)
  scales = scales_of([row for group in groups for run in group.runs for row in run.test_rows])
  axes.set(title=", ".join(families), ylabel=_axis_label(quantity, scales))
  axes.set_xticks(range(len(headings)), headings, rotation=30, ha="right")
  axes.grid(alpha=0.3)
  figure.legend(loc="outside right upper")
  figure.savefig(path, dpi=120)


def _axis_label(quantity: str, scales: Sequence[str]) -> str:
  """The label of an axis; that of scores says what 0 and 100 are too, in lines that fit beside it."""
  label = f"{AXIS_LABELS[quantity]}, mean over test tasks"
  if quantity != "score":
    return label
  lines = [line for scale in dict.fromkeys(scales) for line in textwrap.wrap(scale, MOST_CHARACTERS)]
  return "\n".join([label, *lines])


def _draw_returns(axes: Any, rows: Sequence[Mapping[str, Any]], prefix: str) -> None:
  for name, label in ((BEFORE, "before adaptation"), (AFTER, "after adaptation")):
    _draw(axes, rows, f"{prefix}{name}", label)


def _draw(axes: Any, rows: Sequence[Mapping[str, Any]], name: str, label: str) -> None:
  points = [(row["step"], row[name]) for row in rows if row.get(name) is not None]
  axes.plot(*zip(*points, strict=True), label=label, marker="." if len(points) < FEW_POINTS else None)


def _place_legend(axes: Any, labels: Sequence[str]) -> None:
  if max(map(len, labels)) > MOST_CHARACTERS_INSIDE:
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.15), fontsize="small")
  else:
    axes.legend()
