"""The command that compares finished runs."""

import sys

import pytest
from finished_runs import make_run, scored_rows, write_run

from experiments.compare import main, parser
from macaw_jax.evaluation.results import ResultError


def compare(*arguments):
  """The command with these arguments."""
  main(parser().read([str(each) for each in arguments]))


@pytest.fixture
def runs(tmp_path):
  """A pattern of two finished runs and one that is not."""
  for seed in range(2):
    metrics = {"test/score_before": 0.0, "test/score_after": 50.0}
    write_run(tmp_path / f"macaw-{seed}", make_run(seed, scored_rows([50.0])), [(0, metrics), (10, metrics)])
  (tmp_path / "macaw-2").mkdir()
  return str(tmp_path / "macaw-*")


def test_tables_and_a_picture_of_the_finished_runs(runs, tmp_path, capsys, monkeypatch):
  pytest.importorskip("matplotlib")
  picture = tmp_path / "curves.png"
  compare(runs, f"--picture={picture}")
  assert picture.read_bytes().startswith(b"\x89PNG")
  captured = capsys.readouterr()
  assert [captured.out.count(name) for name in ("| macaw ", "macaw-0 ", "macaw-1 ")] == [1, 1, 1]
  assert f"{tmp_path / 'macaw-2'}: left out" in captured.err
  monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
  compare(runs, f"--picture={picture}")
  assert "no picture: matplotlib is not installed" in capsys.readouterr().out


def test_every_task_has_a_line_where_that_is_asked_for(runs, capsys):
  compare(runs, "--every_task")
  said = capsys.readouterr().out
  assert [said.count(name) for name in ("macaw-0 ", "macaw-1 ")] == [2, 2]
  assert "| 0  speed=0 |" in said


def test_nothing_to_compare(runs):
  with pytest.raises(ResultError, match="macaw-9: no such run"):
    compare(runs.replace("*", "9"))
  with pytest.raises(ResultError, match=r"none of these runs has a results\.json"):
    compare(runs.replace("*", "2"))
