"""The figures of a study as numbers: panels of lines with intervals, made of its table alone.

`drawing.py` draws any of them, and their points are written as CSV beside each picture.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from macaw_jax.evaluation.statistics import (
  Interval,
  improvement_interval,
  mean,
  profile_interval,
  stratified_bootstrap,
)
from macaw_jax.study.landscape import STARTS, STEPS, descend, losses, medians
from macaw_jax.study.table import CellRow, CurveRow, LoggedRow, RunRow, StudyRow, quantity_of, values_of
from macaw_jax.study.universality import decoding

POLICIES = 10
PATH_POINTS, WINDOWS = 1_000, 50  # of the paths over a landscape, and of their medians
PLANE = ((-4.5, 3.0), (-3.6, 6.4))  # theta_1 and theta_2
THRESHOLDS = np.linspace(-50.0, 125.0, 71)


class Line(NamedTuple):
  """Points with intervals."""

  label: str
  x: np.ndarray  # [N]
  y: np.ndarray  # [N]
  low: np.ndarray  # [N]
  high: np.ndarray  # [N]


class Contour(NamedTuple):
  """A function of two variables, behind lines in their plane."""

  label: str
  x: np.ndarray  # [N]
  y: np.ndarray  # [M]
  values: np.ndarray  # [M, N]


class Panel(NamedTuple):
  """The lines that share axes."""

  title: str
  xlabel: str
  ylabel: str
  lines: tuple[Line, ...]
  categories: tuple[str, ...] = ()  # of the x axis, if it has no order: the points are then not joined
  log_x: bool = False
  even_x: bool = False  # whether points have the same distance from each other, whatever their values
  y_range: tuple[float, float] | None = None
  reference: float | None = None  # a y to compare with
  contour: Contour | None = None


class Figure(NamedTuple):
  """A picture, and what it shows."""

  name: str
  caption: str
  panels: tuple[Panel, ...]


class Data(NamedTuple):
  """The tables of a study, and the values of its settings."""

  rows: Sequence[StudyRow]
  curves: Sequence[CurveRow]
  logged: Sequence[LoggedRow]
  runs: Sequence[RunRow]
  setting_values: dict[str, dict[str, Any]]  # of each setting, its fields by dotted name


def stages(data: Data) -> Figure:
  """Scores over the stages of adaptation, a panel for each family and evaluation."""
  panels = [
    Panel(
      title,
      f"adaptation, in {' or '.join(dict.fromkeys(row.stage_unit for row in rows))}",
      _quantity_label(rows),
      tuple(_over(label, of_line, lambda row: row.stage, quantity_of(rows)) for label, of_line in lines_of(rows)),
      even_x=True,
    )
    for title, rows in panels_of(data.rows)
  ]
  return Figure("stages", f"{_MEAN} over the stages of adaptation.", tuple(panels))


def curves(data: Data) -> Figure:
  """Scores after adaptation over the updates of training, a panel for each family."""
  panels = []
  for family, rows in _groups(data.curves, lambda row: row.family):
    has_scores = bool(np.any(np.isfinite([row.score_after for row in rows])))
    field = "score_after" if has_scores else "return_after"
    lines = tuple(_over_seeds(label, of_line, field) for label, of_line in _groups(rows, _label))
    panels.append(Panel(family, "updates", "score" if has_scores else "return", lines))
  return Figure("curves", f"After adaptation, while agents train: {_RANGE}.", tuple(panels))


def metrics(data: Data) -> Figure:
  """The metrics of training that a study keeps, over its updates, a panel for each family and metric."""
  panels = [
    Panel(
      family,
      "updates",
      metric,
      tuple(_over_seeds(label, of_line, "value") for label, of_line in _groups(rows, _label)),
    )
    for (family, metric), rows in _groups(data.logged, lambda row: (row.family, row.metric))
  ]
  return Figure("metrics", f"Metrics of training: {_RANGE}.", tuple(panels))


def profiles(data: Data) -> Figure:
  """Performance profiles at the last stage: the share of seeds and tasks above a score."""
  panels = []
  for title, rows in panels_of(data.rows):
    if quantity_of(rows) != "score":
      continue
    lines = []
    for label, of_line in lines_of(rows):
      found = profile_interval(values_of(last_stage(of_line), "score"), list(THRESHOLDS))
      lines.append(Line(label, THRESHOLDS, found.estimate, found.low, found.high))
    panels.append(Panel(title, "score", "share of runs above it", tuple(lines)))
  return Figure("profiles", "Performance profiles: share of seeds and tasks with more than a score.", tuple(panels))


def settings(data: Data) -> Figure:
  """Scores at the last stage over the settings: along an axis where they differ in one number."""
  numbers, field = _numbers(data.setting_values)
  places = numbers or {name: float(place) for place, name in enumerate(data.setting_values)}
  categories = () if numbers else tuple(data.setting_values)
  panels = [
    Panel(
      title,
      field or "setting",
      _quantity_label(rows),
      tuple(
        _over(method, last_stage(of_method), lambda row: places[row.setting], quantity_of(rows))
        for method, of_method in _groups(rows, lambda row: row.method)
      ),
      categories,
      even_x=bool(numbers),
    )
    for title, rows in panels_of(data.rows)
  ]
  return Figure("settings", f"{_MEAN} after adaptation, by the setting.", tuple(panels))


def evaluations(data: Data) -> Figure:
  """Scores at the last stage by what the agents adapted to, along an axis where supports differ in size alone."""
  panels = [_by_support(family, last_stage(rows)) for family, rows in _groups(data.rows, lambda row: row.family)]
  return Figure("evaluations", f"{_MEAN} after adaptation, by the support.", tuple(panels))


def _by_support(family: str, rows: Sequence[StudyRow]) -> Panel:
  names = list(dict.fromkeys((row.evaluation, row.protocol) for row in rows))
  sizes = {(row.evaluation, row.protocol, row.support) for row in rows}
  by_size = len({protocol for _, protocol in names}) == 1 and len(names) == len({size for *_, size in sizes}) > 2

  def place(row: StudyRow) -> float:
    return row.support if by_size else names.index((row.evaluation, row.protocol))

  lines = tuple(_over(label, of_line, place, quantity_of(rows)) for label, of_line in lines_of(rows))
  label = f"support, in {rows[0].support_unit}" if by_size else "support"
  categories = () if by_size else tuple(_support_name(*name, names) for name in names)
  return Panel(family, label, _quantity_label(rows), lines, categories, log_x=by_size)


def improvement(data: Data) -> Figure:
  """The probability that the first method does better in a task than each other one, at the last stage."""
  panels = []
  for title, rows in comparable_panels_of(data.rows):
    found = finite_values(rows)
    if len(found) < 2:
      continue
    first, *others = found
    intervals = [improvement_interval(found[first], found[other]) for other in others]
    line = _line(first, np.arange(len(others), dtype=float), intervals)
    panels.append(
      Panel(
        title,
        f"{first} against",
        "probability of improvement",
        (line,),
        tuple(others),
        y_range=(-0.05, 1.05),
        reference=0.5,
      )
    )
  return Figure(
    "improvement", "The probability that one run of the first does better than one of another.", tuple(panels)
  )


def universality(data: Data) -> Figure:
  """R^2 of action and advantage, read off the inner gradient with the advantage head and without."""
  lines = []
  for label, head in (("with the advantage head", True), ("without", False)):
    found = np.array([decoding(head=head, key=jax.random.key(seed)) for seed in range(POLICIES)])  # [S, 2]
    lines.append(Line(label, np.arange(2.0), found.mean(axis=0), found.min(axis=0), found.max(axis=0)))
  panel = Panel("read off the inner gradient", "", "R^2", tuple(lines), ("action", "advantage"))
  return Figure("universality", f"Mean and range over {POLICIES} random policies.", (panel,))


def landscape(data: Data) -> Figure:
  """The paths of Adam over two losses in conflict, by their sum and by PCGrad; and the larger loss on the way."""
  paths = {
    label: [descend(start, surgery=surgery) for start in STARTS]
    for label, surgery in (("sum of the gradients", False), ("PCGrad", True))
  }
  panels = []
  for number, start in enumerate(STARTS):
    lines = [_path(label, found[number].theta[:: STEPS // PATH_POINTS]) for label, found in paths.items()]
    lines.append(_path("start", np.array([start])))
    title = f"from ({start[0]:g}, {start[1]:g})"
    panels.append(Panel(title, "theta_1", "theta_2", tuple(lines), contour=_sum_of_losses()))
  window = STEPS // WINDOWS
  lines = []
  for label, found in paths.items():
    larger = np.stack([medians(path, window).max(axis=-1) for path in found])  # [S, WINDOWS]
    updates = window * np.arange(1.0, WINDOWS + 1.0)
    lines.append(Line(label, updates, larger.mean(axis=0), larger.min(axis=0), larger.max(axis=0)))
  panels.append(Panel("larger of both losses", "updates", "max(L1, L2), median", tuple(lines), reference=0.0))
  caption = f"Paths from three starts over L1 + L2, {STEPS} updates of Adam; mean and range over the starts."
  return Figure("landscape", caption, tuple(panels))


FIGURES: dict[str, Callable[[Data], Figure]] = {
  "curves": curves,
  "metrics": metrics,
  "stages": stages,
  "profiles": profiles,
  "settings": settings,
  "evaluations": evaluations,
  "improvement": improvement,
  "universality": universality,
  "landscape": landscape,
}

_RANGE = "mean over seeds, and the range of the seeds"
_MEAN = "Mean over test tasks and seeds, with 95 % bootstrap intervals over seeds within tasks,"


def _path(label: str, points: np.ndarray) -> Line:
  """Points `[N, 2]` in a plane, joined in their order."""
  x, y = points.T
  return Line(label, x, y, y, y)


def _sum_of_losses() -> Contour:
  x, y = np.linspace(*PLANE[0], 181), np.linspace(*PLANE[1], 201)
  grid = jnp.stack(jnp.meshgrid(jnp.asarray(x), jnp.asarray(y)), axis=-1)  # [M, N, 2]
  return Contour("L1 + L2", x, y, np.asarray(jnp.sum(jax.vmap(jax.vmap(losses))(grid), axis=-1)))


def _label(row: CellRow) -> str:
  return ", ".join(filter(None, (row.method, row.setting)))


def _groups(rows: Iterable[Any], key: Callable[[Any], Any]) -> list[tuple[Any, list[Any]]]:
  found: dict[Any, list[Any]] = {}
  for row in rows:
    found.setdefault(key(row), []).append(row)
  return list(found.items())


def _over_seeds(label: str, rows: Sequence[CurveRow | LoggedRow], field: str) -> Line:
  """A point for each update: the mean of a field over seeds, between the least and the largest of them."""
  by_update = _groups(rows, lambda row: row.update)
  values = [[getattr(row, field) for row in each] for _, each in by_update]
  return Line(
    label,
    np.array([update for update, _ in by_update]),
    np.array([np.mean(each) for each in values]),
    np.array([np.min(each) for each in values]),
    np.array([np.max(each) for each in values]),
  )


def lines_of(rows: Iterable[StudyRow]) -> list[tuple[str, list[StudyRow]]]:
  """The rows of each method and setting, with its label."""
  return _groups(rows, _label)


def panels_of(rows: Sequence[StudyRow]) -> list[tuple[str, list[StudyRow]]]:
  """The rows of each family, evaluation and protocol, with a title as long as it has to be."""
  places = list(dict.fromkeys((row.evaluation, row.protocol) for row in rows))
  grouped = _groups(rows, lambda row: (row.family, row.evaluation, row.protocol))
  return [
    (family if len(places) == 1 else f"{family}, {_support_name(evaluation, protocol, places)}", of_panel)
    for (family, evaluation, protocol), of_panel in grouped
  ]


def comparable_panels_of(rows: Sequence[StudyRow]) -> list[tuple[str, list[StudyRow]]]:
  """`panels_of`, each in as many as there are sets of test tasks: settings may have other ones."""
  panels = []
  for title, of_panel in panels_of(rows):
    by_tasks: dict[frozenset[int], list[StudyRow]] = {}
    for _, of_line in lines_of(of_panel):
      by_tasks.setdefault(frozenset(row.task_index for row in of_line), []).extend(of_line)
    for some in by_tasks.values():
      settings_of_some = ", ".join(dict.fromkeys(row.setting for row in some))
      panels.append((title if len(by_tasks) == 1 else f"{title}, {settings_of_some}", some))
  return panels


def _support_name(evaluation: str, protocol: str, places: Sequence[tuple[str, str]]) -> str:
  several = len([name for name, _ in places if name == evaluation]) > 1
  return f"{evaluation}, {protocol}" if several else evaluation


def last_stage(rows: Iterable[StudyRow]) -> list[StudyRow]:
  """The rows at the last stage of each method and setting, in each evaluation and protocol."""
  grouped = _groups(rows, lambda row: (row.family, row.method, row.setting, row.evaluation, row.protocol))
  last = {key: max(row.stage for row in some) for key, some in grouped}
  return [row for key, some in grouped for row in some if row.stage == last[key]]


def finite_values(of_panel: Sequence[StudyRow]) -> dict[str, np.ndarray]:
  """Scores or returns `[S, T]` at the last stage, by method and setting; without those of which one is not finite."""
  values = {label: values_of(last_stage(rows), quantity_of(of_panel)) for label, rows in lines_of(of_panel)}
  return {label: found for label, found in values.items() if np.all(np.isfinite(found))}


def _quantity_label(rows: Sequence[StudyRow]) -> str:
  return {"score": "score", "return_mean": "return"}[quantity_of(rows)]


def _over(label: str, rows: Sequence[StudyRow], position: Callable[[StudyRow], float], quantity: str) -> Line:
  """A point for each position, with its interval."""
  grouped = sorted(_groups(rows, position))
  found = [stratified_bootstrap(values_of(some, quantity), mean) for _, some in grouped]
  return _line(label, np.array([float(place) for place, _ in grouped]), found)


def _line(label: str, x: np.ndarray, found: Sequence[Interval]) -> Line:
  return Line(label, x, *(np.array([getattr(each, name) for each in found]) for name in Interval._fields))


def _numbers(setting_values: dict[str, dict[str, Any]]) -> tuple[dict[str, float], str]:
  """The number of each setting, and the field that it is of; none where settings do not differ in one number alone."""
  fields = {name for values in setting_values.values() for name in values}
  if len(fields) != 1:
    return {}, ""
  field = fields.pop()
  numbers = {name: values.get(field) for name, values in setting_values.items()}
  if not all(isinstance(value, int | float) and not isinstance(value, bool) for value in numbers.values()):
    return {}, ""
  if len(set(numbers.values())) < len(numbers):
    return {}, ""  # Two settings would lie on one place.
  return {name: float(value) for name, value in numbers.items() if value is not None}, field
