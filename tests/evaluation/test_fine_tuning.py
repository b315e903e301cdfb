"""Learning that goes on from own episodes: by hand, and that it gets better where it starts from nothing."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from miniatures import write_point_robot

from macaw_jax import envs
from macaw_jax.adaptation import tuning
from macaw_jax.algorithms import focal, macaw, multitask_bc, single_task_awr
from macaw_jax.data.dataset import load_dataset
from macaw_jax.data.statistics import fit_statistics, normalise_dataset
from macaw_jax.evaluation import fine_tuning
from macaw_jax.evaluation.fine_tuning import (
  SCORED,
  STEPS_PER_EPISODE,
  fine_tuning_stages,
  make_fine_tuning_protocol,
  scored_after,
)
from macaw_jax.types import Problem

FAMILY = envs.make("point_robot")
PROBLEM = Problem(observation_size=2, action_size=2, num_tasks=3, discount=0.9, horizon=FAMILY.horizon)
TASKS = (3, 4)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
  directory = tmp_path_factory.mktemp("data") / "point_robot"
  write_point_robot(directory, num_episodes=2)
  return load_dataset(directory, tasks=TASKS)


def evaluated(algorithm, data, **settings):
  """Returns `[T, R, stages]` of an untrained agent."""
  params = algorithm.init(jax.random.key(0)).params
  statistics = fit_statistics(data)
  protocol = make_fine_tuning_protocol(
    algorithm, FAMILY, **{"discount": 0.9, "support_size": 16, "num_repetitions": 2, "num_episodes": 3} | settings
  )
  tasks = {name: values[np.array(TASKS)] for name, values in FAMILY.tasks.items()}
  return protocol(params, statistics, normalise_dataset(statistics, data), tasks, jax.random.key(1)).returns


def test_a_step_moves_parts_one_after_the_other_by_their_optimisers():
  def pull(name, towards):
    return lambda net, batch, key: (0.5 * jnp.sum((net[name] - net.get(towards, batch)) ** 2), {})

  tuned = tuning({"x": pull("x", ""), "y": pull("y", "x")}, {"x": optax.sgd(0.5), "y": optax.sgd(0.1)})
  net = {"x": jnp.array(1.0), "y": jnp.array(0.0), "z": jnp.array(7.0)}
  moved, _, metrics = tuned.step(net, tuned.init(net), jnp.array(3.0), jax.random.key(0))
  assert moved.keys() == {"x", "y"}
  assert float(moved["x"]) == 2.0  # 1 + 0.5 (3 - 1)
  assert float(moved["y"]) == pytest.approx(0.2)  # 0.1 (2 - 0): y sees the new x
  assert float(metrics["fine_tune_x_loss"]) == 2.0


def test_stages_are_numbers_of_own_episodes():
  assert scored_after(500) == SCORED
  assert scored_after(7) == (0, 1, 2, 5, 7)
  stages = fine_tuning_stages(16, 2)
  assert (stages.stages, stages.stage_unit, stages.support) == ((0, 1, 2), "own episodes", 16)


@pytest.mark.parametrize("make", [macaw, multitask_bc, single_task_awr])
def test_every_agent_that_can_goes_on_learning(make, data):
  algorithm = make(PROBLEM, hidden_sizes=(8,), layer="dense", adaptation_steps=1)
  returns = evaluated(algorithm, data)
  assert returns.shape == (2, 2, 4)  # tasks, repetitions, and after 0, 1, 2 and 3 episodes
  assert np.all(np.isfinite(returns))
  assert np.all(np.ptp(returns, axis=-1) > 0.0), "an agent that does not change"
  np.testing.assert_array_equal(evaluated(algorithm, data), returns)


def test_without_steps_of_its_optimisers_an_agent_stays_as_it_has_adapted(data):
  rates = {"value_learning_rate": 0.0, "policy_learning_rate": 0.0}
  returns = evaluated(single_task_awr(PROBLEM, hidden_sizes=(8,), adaptation_steps=1, **rates), data)
  np.testing.assert_array_equal(returns, returns[..., :1].repeat(4, axis=-1))


def test_the_support_stays_among_the_rows(data, monkeypatch):
  """Every step sees rows of the support first, and then those of each episode, in the order of their collection."""
  drawn = []

  def record(tuning, params, adapted, opt_state, rows, filled, key):
    jax.debug.callback(lambda reward, filled: drawn.append((reward, int(filled))), rows.reward, filled)
    return adapted, opt_state

  monkeypatch.setattr(fine_tuning, "_learn", record)
  evaluated(single_task_awr(PROBLEM, hidden_sizes=(8,), adaptation_steps=1), data, num_repetitions=1, num_episodes=2)
  jax.effects_barrier()
  horizon = FAMILY.horizon
  assert sorted(filled for _, filled in drawn) == [16 + horizon] * 2 + [16 + 2 * horizon] * 2
  for rewards, filled in drawn:
    assert np.all(rewards[:filled] != 0.0)
    assert np.all(rewards[filled:] == 0.0), "room that is not filled yet"


def test_from_nothing_an_agent_learns_where_the_goal_is(data):
  algorithm = single_task_awr(
    PROBLEM,
    hidden_sizes=(32,),
    adaptation_steps=1,
    temperature=0.3,
    standard_deviation=0.5,
    policy_learning_rate=3e-3,
    value_learning_rate=3e-3,
  )
  returns = evaluated(algorithm, data, num_episodes=60).mean(axis=(0, 1))
  assert STEPS_PER_EPISODE > 1
  assert returns[-1] > returns[0] + 2.0


@pytest.mark.parametrize(
  ("algorithm", "problem"),
  [
    (focal(PROBLEM), "expected an algorithm that goes on learning"),
    (macaw(PROBLEM, advantage_target="td_lambda"), "'td_lambda' need consecutive ones"),
  ],
)
def test_agents_that_cannot_are_refused(algorithm, problem):
  with pytest.raises(ValueError, match=problem):
    make_fine_tuning_protocol(algorithm, FAMILY, discount=0.9, support_size=16, num_repetitions=1, num_episodes=1)
