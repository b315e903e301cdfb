"""Methods that learn from episodes of their own, side by side."""

import json
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from absl.testing import flagsaver
from experiments.compare_variants import choose_arms, read_arms

from configs import macaw, norml, reptile
from experiments import arms_report, compare_variants, online_report
from experiments.command_line import ConfigFlag
from experiments.configuration import ConfigurationError
from experiments.interruption import Interruption
from experiments.run_groups import group_by_configuration

pytestmark = pytest.mark.usefixtures("parsed_flags")


class NoConfig:
  """`--config`, not given."""

  is_given = False


def write_run(directory, arm, seed, returns, curve=(), **settings):
  """A finished run on two test tasks: its results, and its metrics of `curve`, values by step."""
  directory.mkdir()
  config = {
    "seed": seed,
    "algorithm": {"name": settings.get("algorithm", "norml"), "step_size": settings.get("step_size", 1.0)},
    "rollouts": {"family": settings.get("family", "point_rotated")},
    "population": {"arms": arm, "seeds": 1, "grid": ""},
    "arms": {arm: {"step_size": 1.0}},
  }
  rows = [
    {"split": "test", "task_index": index, "task": {"angle": 0.1}, "return_before": -10.0, "return_after": value}
    for index, value in enumerate(returns)
  ]
  (directory / "results.json").write_text(json.dumps({"config": config, "seed": seed, "rows": rows}))
  lines = [json.dumps({"step": step, "wall_time": 1.0, "test/return_after": value}) + "\n" for step, value in curve]
  (directory / "metrics.jsonl").write_text("".join(lines))


def table_of(*paths):
  return arms_report.table(arms_report.group_runs(read_arms([str(path) for path in paths]))).splitlines()


def test_a_line_of_each_arm_with_its_spread_over_seeds(tmp_path):
  write_run(tmp_path / "a-0", "maml", 0, [-4.0, -2.0])
  write_run(tmp_path / "a-1", "maml", 1, [-6.0, -4.0])
  write_run(tmp_path / "b-0", "norml", 0, [-1.0, -2.0])
  lines = table_of(tmp_path / "*")
  # Means over tasks -3 and -5: the standard deviation of two is their distance over the root of two.
  assert lines[2] == "| maml | -10.00 ± 0.00 | -4.00 ± 1.41 | 2 |"
  assert lines[3] == "| norml | -10.00 | -1.50 | 1 |"
  assert lines[-1].startswith("point_rotated: undiscounted return before and after adaptation")


def test_a_return_that_is_null_stays_visible(tmp_path):
  write_run(tmp_path / "a-0", "maml", 0, [-4.0, None])
  assert table_of(tmp_path / "a-0")[2] == "| maml | -10.00 | nan | 1 |"


def test_runs_without_an_arm_are_called_by_their_algorithm_and_what_differs_is_named(tmp_path):
  write_run(tmp_path / "a", "", 0, [-1.0])
  write_run(tmp_path / "b", "", 0, [-2.0], step_size=2.0)
  write_run(tmp_path / "c", "maml", 0, [-3.0], step_size=2.0)
  assert [line.split(" | ")[0] for line in table_of(tmp_path / "*")[2:5]] == [
    "| norml (step_size=1.0)",
    "| norml (step_size=2.0)",
    "| maml",
  ]
  # The arms beside which a run was configured are no setting of it.
  assert len(group_by_configuration(read_arms([str(tmp_path / "a"), str(tmp_path / "c")]))) == 2


def test_arms_of_several_algorithms_are_called_by_both(tmp_path):
  write_run(tmp_path / "a", "maml", 0, [-1.0])
  write_run(tmp_path / "b", "maml", 0, [-2.0], algorithm="maml_rl", step_size=None)
  write_run(tmp_path / "c", "maml", 0, [-3.0], algorithm="maml_rl", step_size=2.0)
  assert [line.split(" | ")[0] for line in table_of(tmp_path / "*")[2:5]] == [
    "| norml (maml)",
    "| maml_rl (maml)",
    "| maml_rl (maml, step_size=2.0)",
  ]


def test_curves_are_those_steps_that_all_seeds_have(tmp_path):
  write_run(tmp_path / "a-0", "maml", 0, [-1.0], curve=[(0, -10.0), (100, -5.0), (200, -3.0)])
  write_run(tmp_path / "a-1", "maml", 1, [-1.0], curve=[(0, -10.0), (100, None)])
  (arm,) = arms_report.group_runs(read_arms([str(tmp_path / "*")]))
  steps, returns = arms_report.curve(arm)
  np.testing.assert_array_equal(steps, [0, 100])
  np.testing.assert_array_equal(returns, [[-10.0, -5.0], [-10.0, np.nan]])


def test_the_picture_and_a_machine_that_cannot_draw_it(tmp_path, capsys, monkeypatch):
  pytest.importorskip("matplotlib")
  for arm in ("maml", "norml"):
    for seed in range(2):
      write_run(tmp_path / f"{arm}-{seed}", arm, seed, [-1.0], curve=[(0, -10.0), (100, -5.0 - seed)])
  with flagsaver.flagsaver(picture=str(tmp_path / "arms.png")):
    compare_variants.main([str(tmp_path / "*-?")], NoConfig())
    assert (tmp_path / "arms.png").read_bytes().startswith(b"\x89PNG")
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    compare_variants.main([str(tmp_path / "*-?")], NoConfig())
  said = capsys.readouterr().out
  assert said.count("| norml | -10.00 ± 0.00 | -1.00 ± 0.00 | 2 |") == 2
  assert "no picture: matplotlib is not installed" in said


def test_runs_that_cannot_stand_beside_each_other(tmp_path):
  write_run(tmp_path / "a", "maml", 0, [-1.0])
  write_run(tmp_path / "b", "maml", 0, [-1.0], family="cartpole_bias")
  with pytest.raises(ConfigurationError, match="expected runs on one family, found point_rotated, cartpole_bias"):
    table_of(tmp_path / "*")
  with pytest.raises(ConfigurationError, match=r"acted itself; see python -m experiments.compare_variants"):
    online_report.main([str(tmp_path / "a")])
  results = json.loads((tmp_path / "a" / "results.json").read_text())
  del results["config"]["rollouts"]
  (tmp_path / "a" / "results.json").write_text(json.dumps(results))
  with pytest.raises(ConfigurationError, match=r"a: a run on a dataset; see python -m experiments.compare$"):
    table_of(tmp_path / "a")


def test_a_configuration_has_all_its_arms_unless_it_names_some():
  config = norml.get_config().lock()
  choose_arms(config, 5)
  assert (config.population.variants, config.population.seeds) == ("all", 5)
  config.population.variants = "maml,norml"
  choose_arms(config, None)
  assert (config.population.variants, config.population.seeds) == ("maml,norml", 5)
  for other in (macaw, reptile):
    with pytest.raises(
      ConfigurationError, match=r"^config.variants: expected arms to compare, as configs/norml.py has"
    ):
      choose_arms(other.get_config(), None)


class Given(ConfigFlag):
  """`--config`, given as these arguments."""

  def __init__(self, location, *overrides):
    self._flag, self._overrides = SimpleNamespace(value=[location]), list(overrides)


def test_a_configuration_and_directories_at_once_are_refused():
  with pytest.raises(ConfigurationError, match=r"expected --config or directories, found both \('runs/a'\)"):
    compare_variants.main(["runs/a"], Given("configs/norml.py"))
  with flagsaver.flagsaver(seeds=3), pytest.raises(ConfigurationError, match=r"^--seeds: expected beside --config"):
    compare_variants.main(["runs/a"], NoConfig())


def test_all_that_is_wrong_with_a_command_is_said_at_once():
  flag = Given("configs/norml.py", "--config.algorithm.offset=true", "--config.training.steps=-1")
  with flagsaver.flagsaver(seeds=0), pytest.raises(ConfigurationError) as raised:
    compare_variants.main([], flag)
  replaced, *others = raised.value.problems
  assert replaced.startswith(
    "command line: config.algorithm.offset: config.variants.domain_randomisation.offset, config."
  )
  assert sorted(problem.partition(":")[0] for problem in others) == ["--seeds = 0", "config.training.steps = -1"]


CONFIGURATION = """
from on_policy_miniature import make_miniature

def get_config():
  return make_miniature({output!r})
"""


def test_the_arms_of_a_configuration_are_trained_and_drawn_side_by_side(tmp_path, capsys, monkeypatch, compiled_once):
  pytest.importorskip("matplotlib")
  (tmp_path / "tiny.py").write_text(CONFIGURATION.format(output=str(tmp_path / "arms")))
  flag = Given(str(tmp_path / "tiny.py"), "--config.population.variants=maml,norml")
  monkeypatch.setattr(Interruption, "listen", lambda self: None)  # Signals are for pytest to answer.
  with flagsaver.flagsaver(picture=str(tmp_path / "arms.png"), seeds=1):
    compare_variants.main([], flag)
  said = capsys.readouterr().out
  assert said.count("| maml | ") == said.count("| norml | ") == 1
  assert said.endswith(f"drawn to {tmp_path / 'arms.png'}\n")
  assert "compare runs" not in said
  assert sorted(path.name for path in (tmp_path / "arms").iterdir()) == ["maml-0", "norml-0"]
  assert (tmp_path / "arms.png").read_bytes().startswith(b"\x89PNG")
