"""Trained agents and known answers, played in the same bandits."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from finished_runs import make_run, scored_rows, write_run
from miniatures import run_silently

from configs import norml
from experiments.regret import Played, bandit_of, main, parser, play, play_run, table
from macaw_jax import envs, load_run
from macaw_jax.errors import ConfigurationError
from macaw_jax.types import TimeStep

pytestmark = pytest.mark.usefixtures("compiled_once")
FAMILY = envs.make("bandit_10")
PROBABILITY = FAMILY.tasks["probability"][list(FAMILY.test_tasks)]


@pytest.fixture(scope="module")
def run_on_bandits(tmp_path_factory, compiled_once):
  """The directory of a finished run in bandits."""
  config = norml.get_config("bandit_10")
  config.rollouts.update({"episodes": 2, "tasks_per_update": 2, "horizon": 5})
  config.algorithm.hidden_sizes = config.algorithm.advantage_hidden_sizes = (8,)
  config.evaluation.update({"tasks": 2, "episodes": 2, "support_episodes": 2})
  config.training.update({"steps": 2, "log_every": 2, "evaluate_every": 2, "checkpoint_every": 2})
  config.output_directory = str(tmp_path_factory.mktemp("bandits") / "run")
  run_silently(config.lock())
  return config.output_directory


def third_arm(params, adapted, timestep, key):
  return jnp.zeros(5).at[2].set(0.5), adapted


def test_episodes_stand_by_their_tasks():
  """Whoever always pulls one arm falls short by ten times what that arm lacks, in every episode."""
  played = play(FAMILY, third_arm, {}, jnp.zeros(3 * 200), 3, jax.random.key(0))
  expected = 10 * (PROBABILITY.max(axis=1) - PROBABILITY[:, 2])
  np.testing.assert_allclose(played.regrets, np.tile(expected, (3, 1)), atol=1e-5)
  # 600 episodes of ten pulls: five standard errors.
  spread = np.sqrt(np.sum(10 * PROBABILITY[:, 2] * (1 - PROBABILITY[:, 2])) * 3) / 600
  assert abs(played.rewards.mean() - 10 * PROBABILITY[:, 2].mean()) < 5 * spread
  assert np.any(played.rewards[0] != played.rewards[1])


def test_the_table_by_hand():
  def constant(regret):
    return Played(np.full((2, 3), 10.0 - regret), np.full((2, 3), regret))

  lines = table({"gittins": constant(2.0), "thompson": constant(4.0), "runs/mine": constant(3.0)}).splitlines()
  cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
  assert cells[0] == ["policy", "reward", "regret", "regret / gittins", "regret / thompson"]
  assert cells[2] == ["gittins", "8.00 [8.00, 8.00]", "2.00 [2.00, 2.00]", "1.00", "0.50"]
  assert cells[4] == ["runs/mine", "7.00 [7.00, 7.00]", "3.00 [3.00, 3.00]", "1.50", "0.75"]


def test_an_agent_is_played_as_it_acts(run_on_bandits):
  """Its pulls are samples of its policy: each arm as often as in samples at the one observation."""
  played = play_run(FAMILY, run_on_bandits, 10, jax.random.key(0))
  assert played.regrets.shape == played.rewards.shape == (10, 200)
  agent = load_run(run_on_bandits)
  start = TimeStep(jnp.ones(1), jnp.zeros(5), jnp.zeros(()), jnp.ones(()))
  act = jax.vmap(lambda key: agent.algorithm.act(agent.params, agent.prior(), start, key)[0])
  arms = np.argmax(np.clip(act(jax.random.split(jax.random.key(1), 4000)), -1.0, 1.0), axis=1)
  share = np.bincount(arms, minlength=5) / 4000
  worth = PROBABILITY @ share
  expected = 10 * (PROBABILITY.max(axis=1) - worth)  # of each task
  deviation = 10 * np.std(PROBABILITY) * np.sqrt(1 / 20_000 + 1 / 4000)
  assert abs(played.regrets.mean() - expected.mean()) < 5 * deviation


def test_the_command_prints_policies_and_agents_on_the_family_of_the_run(run_on_bandits, capsys):
  main(parser().read([run_on_bandits, "--episodes=2"]))
  said = capsys.readouterr().out.splitlines()
  assert said[0] == "bandit_10, 200 test tasks, 2 episodes of each"
  names = [line.strip("|").split("|")[0].strip() for line in said[4:]]
  assert names == ["random", "greedy", "thompson", "ucb1", "gittins", run_on_bandits]


def test_the_family_of_the_command(run_on_bandits, tmp_path):
  run = Path(run_on_bandits)
  assert bandit_of(None, [run]).name == bandit_of("bandit_10", [run]).name == "bandit_10"
  assert bandit_of("bandit_500", []).horizon == 500
  for name, runs, line in (
    (None, [], r"no family; expected --family=bandit_10 or directories of runs"),
    ("bandit_100", [run], rf"expected one family, got --family=bandit_100, {run}: bandit_10"),
    ("maze", [], r"--family=maze: expected one of bandit_10, bandit_100, bandit_500"),
    (None, [tmp_path], rf"{tmp_path}: no results\.json \(not finished\?\)"),
  ):
    with pytest.raises(ConfigurationError, match=f"^{line}$"):
      bandit_of(name, runs)


def test_a_run_in_another_family_is_refused(tmp_path):
  write_run(tmp_path, make_run(0, scored_rows([50.0]), family="point_robot"))
  with pytest.raises(ConfigurationError, match=rf"^{tmp_path}: family point_robot: expected one of bandit_10"):
    bandit_of(None, [tmp_path])
