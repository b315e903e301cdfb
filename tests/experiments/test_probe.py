"""The probe on agents whose adaptation is known."""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from miniature_run import make_miniature, write_point_robot
from untrained_run import context_based, make_untrained_run

from experiments import experiment as experiment_module
from experiments.configuration import ConfigurationError
from experiments.experiment import make_algorithm
from experiments.probe import fit_to_training_tasks, probe_run, probe_table
from experiments.trained_run import load_trained_run, with_own_support
from macaw_jax.algorithms import ALGORITHMS

pytestmark = pytest.mark.usefixtures("quick_compile")


@pytest.fixture(scope="module")
def known_tasks(tmp_path_factory):
  """A dataset whose test tasks are its training tasks."""
  directory = tmp_path_factory.mktemp("data") / "known"
  everything = tuple(range(5))
  write_point_robot(directory, train_tasks=everything, test_tasks=everything, tasks_shared_by_splits=True)
  return directory


@pytest.fixture
def probed(known_tasks, tmp_path, monkeypatch):
  """A function that probes an agent with this adaptation: `(support) -> latent`."""

  def probe(latent, episodes=4):
    factory = ALGORITHMS["focal"]

    @functools.wraps(factory)  # validation asks for its signature
    def changed(problem, **hyperparameters):
      algorithm = factory(problem, **hyperparameters)

      def adapt(params, support, key):
        return {"latent": latent(support)}

      return algorithm._replace(adapt=adapt)

    config = context_based(known_tasks, tmp_path / "run", latent_size=2).unlock()
    config.evaluation.support_size = 160  # of 200, so that little is left to chance
    directory = make_untrained_run(config)
    monkeypatch.setitem(experiment_module.ALGORITHMS, "focal", changed)
    rows = {row["support"]: row for row in probe_run(directory, episodes, seed=0)}
    assert list(json.loads((directory / "probe.json").read_text())["rows"]) == list(rows.values())
    return rows

  return probe


def goal_seen(support):
  """Where the reward is highest: near the goal, if the support came there."""
  return support.observation[jnp.argmax(support.reward)]


def place_seen(support):
  """The mean position: near the goal where the behaviour walks to it, and nowhere else."""
  return jnp.mean(support.observation, axis=0)


def test_an_agent_that_reads_rewards_is_lost_without_them(probed):
  rows = probed(goal_seen)
  assert rows.keys() == {"own", "random"}
  for row in rows.values():
    assert row["r_squared"] > 0.8
    assert row["error"] < 0.3 * row["chance"]
    assert row["error_constant_rewards"] > 5 * row["error"]
  assert rows["own"]["return"] != rows["own"]["return_constant_rewards"]


def test_an_agent_that_reads_behaviour_alone_is_found_out(probed):
  rows = probed(place_seen)
  own, random = rows["own"], rows["random"]
  assert own["r_squared"] > 0.8
  assert own["r_squared_constant_rewards"] == own["r_squared"]
  assert own["score_constant_rewards"] == own["score"]
  assert random["r_squared"] < 0.3
  assert random["error"] > 5 * own["error"]


def test_adapted_weights_are_features_too(point_robot_directory, tmp_path, capsys):
  directory = make_untrained_run(make_miniature(point_robot_directory, tmp_path / "macaw"))
  rows = probe_run(directory, 2, seed=0)
  assert "64 supports of each of 3 training tasks" in capsys.readouterr().out
  assert all(np.isfinite(value) for row in rows for value in row.values() if not isinstance(value, str))
  lines = probe_table({directory: rows}).splitlines()
  assert lines[2].startswith(f"| {directory} | own | ")
  assert lines[3].startswith(f"| {directory} | random | ")
  assert {line.count("|") for line in lines[:4]} == {10}


def test_one_training_task_cannot_be_told_from_others(point_robot_directory, tmp_path):
  write_point_robot(tmp_path / "data", train_tasks=(0,))
  config = make_miniature(tmp_path / "data", tmp_path / "macaw").unlock()
  config.evaluation.train_tasks = 0
  directory = make_untrained_run(config)
  with pytest.raises(ConfigurationError, match=r"macaw: a probe needs two training tasks or more"):
    probe_run(directory, 2, seed=0)


def test_an_agent_that_has_diverged_is_named(point_robot_directory, tmp_path):
  directory = make_untrained_run(context_based(point_robot_directory, tmp_path / "focal"))
  config = with_own_support(directory, 2)
  run = load_trained_run(directory, config)
  state = jax.tree.map(lambda leaf: np.full_like(leaf, np.nan), run.checkpoint.state.params)
  diverged = run._replace(checkpoint=run.checkpoint._replace(state=run.checkpoint.state._replace(params=state)))
  with pytest.raises(ConfigurationError, match=r"focal: features to decode: expected finite values"):
    fit_to_training_tasks(directory, diverged, make_algorithm(config, run.experiment.problem), jax.random.key(0))
