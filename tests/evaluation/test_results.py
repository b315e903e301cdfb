import dataclasses
import math

import numpy as np
import pytest
from finished_runs import make_row, make_run, write_run

from macaw_jax.evaluation.results import ResultError, read_run, results_document

ROWS = [
  make_row(scores=(0.0, 50.0), references=(-30.0, 10.0), scale=("random", "expert")),
  make_row((1.0, 2.0), task_index=4),
  make_row(split="train"),
]


def rows_in_json():
  return results_document(make_run(0, ROWS), step=0, seconds=None)["rows"]


def test_a_run_comes_back_from_its_file(tmp_path):
  run = make_run(5, ROWS, algorithm="norml", variant="maml", family="point_rotated", steps=1200, width=8)
  write_run(tmp_path / "run", run, checkpoint="a field of another file")
  assert read_run(tmp_path / "run") == dataclasses.replace(run, directory=tmp_path / "run")


def test_numbers_that_are_not_finite_come_back_as_nan(tmp_path):
  rows = [make_row((-1.0, math.inf), (0.0, math.nan)), make_row((1.0, 2.0), task_index=4)]
  write_run(tmp_path, make_run(0, rows))
  back = read_run(tmp_path).rows
  np.testing.assert_array_equal(back[0].returns, [-1.0, np.nan])
  np.testing.assert_array_equal(back[0].scores, [0.0, np.nan])
  assert back[1] == rows[1]


def test_rows_of_earlier_releases_are_read_and_empty_scores_are_none(tmp_path):
  """They said neither what scores are nor that a task has none: its scores were no numbers."""
  rows = [make_row((1.0, 2.0), (math.nan, math.nan)), make_row((1.0, 3.0), (0.0, 50.0), task_index=4)]
  failed = make_row((math.nan, math.nan), (math.nan, math.nan), task_index=5)
  document = results_document(make_run(0, [*rows, failed]), step=0, seconds=None)
  for row in document["rows"]:
    del row["references"], row["scale"]
  write_run(tmp_path, make_run(0, ROWS), rows=document["rows"])
  first, second, third = read_run(tmp_path).rows
  assert first.scores is None
  assert second == rows[1]
  np.testing.assert_array_equal(third.scores, [np.nan, np.nan])


@pytest.mark.parametrize(
  ("key", "value"),
  [
    ("format_version", None),
    ("format_version", 1),
    ("algorithm", 3),
    ("variant", None),
    ("family", ["a"]),
    ("seed", True),
    ("environment_steps", 1.5),
    ("config", []),
    ("rows", None),
    ("rows", []),
  ],
)
def test_a_wrong_field_is_named_with_its_file(tmp_path, key, value):
  write_run(tmp_path, make_run(0, ROWS), **{key: value})
  with pytest.raises(ResultError, match=rf"^{tmp_path}/results.json: {key}: expected ") as raised:
    read_run(tmp_path)
  assert len(raised.value.problems) == 1


@pytest.mark.parametrize(
  ("key", "value"),
  [
    ("task_index", "3"),
    ("task", [1]),
    ("stages", [0, 1.5]),
    ("stages", []),
    ("returns", ["much", 1.0]),
    ("returns", [1.0]),
    ("scores", [1.0, 2.0, 3.0]),
    ("stds", None),
    ("references", [1.0]),
    ("scale", ["zeros"]),
    ("scale", ["zeros", 1]),
  ],
)
def test_a_wrong_field_of_a_row_is_named(tmp_path, key, value):
  rows = rows_in_json()
  rows[1][key] = value
  write_run(tmp_path, make_run(0, ROWS), rows=rows)
  with pytest.raises(ResultError, match=rf"results.json: rows\[1\]\.{key}"):
    read_run(tmp_path)


def test_all_that_is_missing_is_named(tmp_path):
  rows = rows_in_json()
  del rows[1]["returns"], rows[1]["task"]
  write_run(tmp_path, make_run(0, ROWS), rows=rows)
  with pytest.raises(ResultError) as raised:
    read_run(tmp_path)
  place = tmp_path / "results.json"
  assert raised.value.problems == (f"{place}: rows[1].task is missing", f"{place}: rows[1].returns is missing")
  write_run(tmp_path, make_run(0, ROWS), rows=[*rows_in_json(), 1])
  with pytest.raises(ResultError, match=r"results.json: rows\[3\]: "):
    read_run(tmp_path)


@pytest.mark.parametrize("rows", [ROWS[2:], [*ROWS, make_row((1.0, 2.0, 3.0))]])
def test_rows_that_cannot_be_compared_are_refused(tmp_path, rows):
  write_run(tmp_path, make_run(0, rows))
  with pytest.raises(ResultError, match=r"results\.json: rows: expected"):
    read_run(tmp_path)


@pytest.mark.parametrize("content", ["{", "[]", "\xff"])
def test_a_file_that_is_no_object_is_named(tmp_path, content):
  (tmp_path / "results.json").write_bytes(content.encode("latin-1"))
  with pytest.raises(ResultError, match=r"results\.json: "):
    read_run(tmp_path)
