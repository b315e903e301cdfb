"""The report of a study: its numbers by hand, and the page in a browser where there is one."""

import dataclasses
import shutil
import subprocess

import numpy as np
import pytest

from macaw_jax.errors import ConfigurationError
from macaw_jax.study.drawing import COLOURS, draw_panel, points
from macaw_jax.study.figures import FIGURES, Data, Line, Panel
from macaw_jax.study.report import write_report
from macaw_jax.study.table import CurveRow, LoggedRow, RunRow, StudyRow, quantity_of, read_table, values_of, write_table
from macaw_jax.study.tables import aggregate_tables, comparison_tables, run_table, stage_tables

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
SEEDS, TASKS, STAGES = 5, (2, 7), (0, 1, 5)
LEVELS = {"good": 80.0, "poor": 20.0}


def row(method, setting, seed, task, stage, **changes):
  score = LEVELS[method] * (stage > 0) + seed + task
  values = {
    "method": method,
    "family": "somewhere",
    "setting": setting,
    "evaluation": "own",
    "protocol": "offline",
    "seed": seed,
    "task_index": task,
    "task": "{}",
    "stage": stage,
    "stage_unit": "steps",
    "support": 256,
    "support_unit": "transitions",
    "episodes": 3,
    "return_mean": 10.0 * score,
    "return_std": 1.0,
    "score": score,
  }
  return StudyRow(**values | changes)


def data(**changes):
  rows = [
    row(method, "", seed, task, stage, **changes)
    for method in LEVELS
    for seed in range(SEEDS)
    for task in TASKS
    for stage in STAGES
  ]
  curves = [
    CurveRow(method, "somewhere", "", seed, update, 0.0, level * update, level * update / 10)
    for method, level in LEVELS.items()
    for seed in range(SEEDS)
    for update in (0, 5, 10)
  ]
  runs = [
    RunRow(method, "somewhere", "", seed, f"runs/{method}-{seed}", 10, 61.4)
    for method in LEVELS
    for seed in range(SEEDS)
  ]
  logged = [
    LoggedRow(method, "somewhere", "", seed, update, metric, seed + update)
    for method in LEVELS
    for seed in range(SEEDS)
    for update in (5, 10)
    for metric in ("one", "two")
  ]
  return Data(rows, curves, logged, runs, {"": {}})


def test_a_table_is_read_as_it_was_written(tmp_path):
  rows = [*data().rows, row("good", "", 0, 2, 0, score=np.nan)]
  write_table(tmp_path / "table", rows)
  assert list(map(repr, read_table(tmp_path / "table", StudyRow))) == list(map(repr, rows))
  with pytest.raises(ValueError, match="expected the key 'rows' with objects of the keys method, family"):
    read_table(tmp_path / "table", CurveRow)


def test_a_value_of_another_kind_is_named(tmp_path):
  write_table(tmp_path / "table", [row("good", "", 0, 2, 0, score="high"), row("good", "", 0.5, 2, 0)])
  with pytest.raises(ConfigurationError) as raised:
    read_table(tmp_path / "table", StudyRow)
  assert [problem.partition(": ")[2] for problem in raised.value.problems] == [
    "row 0: score = 'high': expected float",
    "row 1: seed = 0.5: expected int",
  ]


def test_values_are_seeds_by_tasks_and_none_may_lack():
  last = [each for each in data().rows if each.method == "good" and each.stage == 5]
  scores = 80.0 + np.arange(5.0)[:, None] + np.array([2.0, 7.0])
  np.testing.assert_array_equal(values_of(last, "score"), scores)
  np.testing.assert_array_equal(values_of(last, "return_mean"), 10.0 * scores)
  with pytest.raises(ValueError, match="one row for each of 5 seeds in each of 2 tasks, got 9"):
    values_of(last[1:], "score")


def test_a_run_that_failed_is_shown_as_one_and_compared_with_nobody():
  failed = [
    dataclasses.replace(each, score=np.nan, return_mean=np.nan)
    if (each.method, each.seed, each.stage) == ("poor", 3, 5)
    else each
    for each in [*data().rows, *(dataclasses.replace(each, method="fair") for each in data().rows[:30])]
  ]
  found = data()._replace(rows=failed)
  assert quantity_of(failed) == "score"
  (aggregate,) = aggregate_tables(found)
  assert aggregate.lines[1] == ("poor", *["not finite"] * 4, "5", "2")
  (comparison,) = comparison_tables(found)
  assert [line[:2] for line in comparison.lines] == [("good", "fair")]
  assert FIGURES["improvement"](found).panels[0].categories == ("fair",)
  assert np.isnan(FIGURES["stages"](found).panels[0].lines[1].y).tolist() == [False, False, True]


def test_a_metric_has_a_panel_with_mean_and_range_of_the_seeds():
  panels = FIGURES["metrics"](data()).panels
  assert [(panel.title, panel.xlabel, panel.ylabel) for panel in panels] == [
    ("somewhere", "updates", "one"),
    ("somewhere", "updates", "two"),
  ]
  good, _ = panels[0].lines
  assert [list(each) for each in (good.x, good.y, good.low, good.high)] == [[5, 10], [7, 12], [5, 10], [9, 14]]


def test_a_line_over_stages_has_the_means_and_their_intervals():
  figure = FIGURES["stages"](data())
  (panel,) = figure.panels
  assert (panel.title, panel.xlabel, panel.ylabel) == ("somewhere", "adaptation, in steps", "score")
  good, poor = panel.lines
  np.testing.assert_array_equal(good.x, STAGES)
  np.testing.assert_allclose(good.y, [6.5, 86.5, 86.5])  # 2 is the mean seed, 4.5 the mean task
  np.testing.assert_allclose(poor.y, [6.5, 26.5, 26.5])
  assert np.all(good.low < good.y)
  assert np.all(good.y < good.high)
  written = points(figure).splitlines()
  assert written[0] == "panel,line,category,x,y,low,high"
  assert written[2].startswith("somewhere,good,,1.0,86.5,")
  assert len(written) == 1 + 2 * len(STAGES)


def test_settings_of_one_number_lie_along_its_axis():
  rows = [
    dataclasses.replace(each, setting=setting, score=each.score + shift)
    for each in data().rows
    for setting, shift in (("few", 0.0), ("many", 5.0))
  ]
  by_number = FIGURES["settings"](data()._replace(rows=rows, setting_values={"few": {"n": 3}, "many": {"n": 35}}))
  (panel,) = by_number.panels
  assert panel.xlabel == "n"
  assert not panel.categories
  np.testing.assert_array_equal(panel.lines[0].x, [3.0, 35.0])
  np.testing.assert_allclose(panel.lines[0].y, [86.5, 91.5])
  named = FIGURES["settings"](data()._replace(rows=rows, setting_values={"few": {"n": "x"}, "many": {"n": "y"}}))
  assert named.panels[0].categories == ("few", "many")


def test_supports_of_other_sizes_lie_along_an_axis_and_others_beside_each_other():
  def figure(supports):
    rows = [
      dataclasses.replace(each, evaluation=name, support=size)
      for each in data().rows
      for name, size in supports.items()
    ]
    return FIGURES["evaluations"](data()._replace(rows=rows)).panels[0]

  sizes = figure({"a": 8, "b": 64, "c": 1_024})
  np.testing.assert_array_equal(sizes.lines[0].x, [8.0, 64.0, 1_024.0])
  assert sizes.log_x
  names = figure({"start": 256, "middle": 256, "end": 256})
  assert names.categories == ("start", "middle", "end")


def test_tables_have_every_statistic_and_say_who_is_better():
  (aggregate,) = aggregate_tables(data())
  assert aggregate.title == "somewhere, after 5 steps"
  assert aggregate.headings == ("", "mean", "median", "IQM", "optimality gap", "seeds", "tasks")
  assert [line[0] for line in aggregate.lines] == ["good", "poor"]
  assert aggregate.lines[0][1].startswith("86.5 [")
  assert aggregate.lines[1][4].startswith("73.5 [")
  assert aggregate.lines[0][5:] == ("5", "2")
  (comparison,) = comparison_tables(data())
  assert comparison.lines == (("good", "poor", "1.00", "good is better, with 5 seeds"),)


def test_of_three_seeds_no_difference_could_be_shown():
  few = [each for each in data().rows if each.seed < 3]
  (comparison,) = comparison_tables(data()._replace(rows=few))
  assert comparison.lines[0][-1] == "too few seeds to show one"


def test_methods_with_other_stages_are_all_shown_at_their_last():
  rows = [each for each in data().rows if each.method == "good" or each.stage < 5]
  shown = FIGURES["evaluations"](data()._replace(rows=rows)).panels[0]
  assert [line.label for line in shown.lines] == ["good", "poor"]
  np.testing.assert_allclose([line.y[0] for line in shown.lines], [86.5, 26.5])


def test_settings_with_other_test_tasks_are_compared_among_themselves():
  rows = [
    dataclasses.replace(each, setting=setting, task_index=each.task_index + shift)
    for each in data().rows
    for setting, shift in (("within", 0), ("outside", 20))
  ]
  found = data()._replace(rows=rows)
  tables = comparison_tables(found)
  assert [table.title for table in tables] == ["somewhere, within, after 5 steps", "somewhere, outside, after 5 steps"]
  assert [line[:2] for line in tables[1].lines] == [("good, outside", "poor, outside")]
  assert [panel.categories for panel in FIGURES["improvement"](found).panels] == [("poor, within",), ("poor, outside",)]


def test_figures_without_anything_to_show_say_so(tmp_path):
  alone = data(score=np.nan)._replace(rows=[each for each in data(score=np.nan).rows if each.method == "good"])
  origin = {"command": "python"}
  path = write_report(
    tmp_path, alone, title="", question="", figures=("improvement", "profiles"), settings={}, origin=origin
  )
  assert path.read_text().count("has nothing to show") == 2
  assert "<svg" not in path.read_text()


def test_every_line_looks_unlike_each_other():
  from matplotlib.figure import Figure as Canvas

  axes = Canvas().subplots()
  lines = tuple(Line(str(number), *[np.arange(3.0)] * 4) for number in range(2 * len(COLOURS)))
  draw_panel(axes, Panel("", "", "", lines))
  looks = {(line.get_color(), line.get_marker(), line.get_linestyle()) for line in axes.lines}
  assert len(looks) == 2 * len(COLOURS)


def test_every_stage_has_its_mean():
  (table,) = stage_tables(data())
  assert table.headings == ("", "0", "1", "5")
  assert [text.partition(" ")[0] for text in table.lines[1]] == ["poor", "6.5", "26.5", "26.5"]
  two = [each for each in data().rows if each.stage < 5]
  assert not stage_tables(data()._replace(rows=two)), "before and after stand in the tables already"


def test_cells_are_listed_with_what_their_training_took():
  assert run_table(data()).lines[1] == ("somewhere", "poor", "", "0, 1, 2, 3, 4", "10", "61")
  other = [*data().runs[:-1], dataclasses.replace(data().runs[-1], seconds=1_000.0)]
  assert run_table(data()._replace(runs=other)).lines[1][-1] == "61, 1,000", "a seed that was trained later"


def test_where_tasks_have_no_scale_returns_are_shown():
  without = data(score=np.nan)
  assert FIGURES["stages"](without).panels[0].ylabel == "return"
  assert aggregate_tables(without)[0].lines[0][4] == "-"


@pytest.fixture
def page(tmp_path):
  return write_report(
    tmp_path,
    data(),
    title="Good & poor",
    question="Which is <better>?",
    figures=("curves", "stages", "profiles", "evaluations", "improvement"),
    settings={"seeds": 5},
    origin={"command": "python -m experiments.study"},
  )


def test_texts_are_no_markup(page):
  text = page.read_text()
  assert "Good &amp; poor" in text
  assert "Which is &lt;better&gt;?" in text
  assert "<script" not in text
  assert "src=" not in text, "nothing beside it is needed"


@pytest.mark.skipif(BROWSER is None, reason="no browser is installed")
@pytest.mark.parametrize("width", [1280, 400])
def test_a_browser_draws_every_figure_and_complains_of_nothing(page, tmp_path, width):
  from matplotlib.colors import to_rgb
  from matplotlib.image import imread

  picture = tmp_path / "page.png"
  flags = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--enable-logging=stderr"]
  flags += [f"--user-data-dir={tmp_path / 'profile'}", f"--window-size={width},4000", f"--screenshot={picture}"]
  done = subprocess.run([BROWSER, *flags, page.as_uri()], capture_output=True, text=True, timeout=120, check=True)
  assert "CONSOLE" not in done.stderr
  pixels = imread(picture)[..., :3]
  for colour in COLOURS[:2]:  # those of the two methods, in the lines of each figure that has both
    rows = np.any(np.all(np.abs(pixels - to_rgb(colour)) < 0.02, axis=-1), axis=1)
    assert np.count_nonzero(np.diff(rows.astype(int)) == 1) >= 4
