"""Settings that follow the data: the choices for every family, and that a factory makes them."""

import re

import jax
import numpy as np
import pytest
from small_agents import small_agent

from macaw_jax import envs
from macaw_jax.algorithms import by_data
from macaw_jax.algorithms.settings import chosen_by_data
from macaw_jax.types import Problem, TaskBatch, Transition

# What docs/results.md was made with, when each was written down for its family by name.
DISCOUNT = 0.99
MANY = {"ant_dir", "ant_dir_forward", "ant_goal", "cheetah_vel", "hopper_params", "humanoid_dir", "walker_params"}
SHORT = {"point_robot", "point_robot_origin", "point_robot_sparse", "point_robot_wind"}
CHOICES = {
  **dict.fromkeys(MANY, ("bootstrapped", 0.5, 1e-4)),
  **dict.fromkeys(SHORT, ("monte_carlo", 0.5, 1e-4)),
  "cheetah_dir": ("monte_carlo", 1.0, 1e-3),
}


def problem_of(family):
  return Problem(family.observation_size, family.action_size, len(family.train_tasks), DISCOUNT, horizon=family.horizon)


@pytest.mark.parametrize("name", sorted(CHOICES))
def test_every_family_with_data_has_the_settings_that_its_results_were_made_with(name):
  assert CHOICES.keys() == envs.FAMILIES.keys() - set(envs.ON_POLICY_FAMILIES)
  target, temperature, rate = CHOICES[name]
  problem = problem_of(envs.make(name))
  targets = dict.fromkeys(("inner_value_target", "outer_value_target", "advantage_target"), target)
  rates = dict.fromkeys(("fine_tune_value_learning_rate", "fine_tune_policy_learning_rate"), rate)
  assert chosen_by_data("macaw", problem, {}) == targets | {"temperature": temperature} | rates
  assert chosen_by_data("maml_awr", problem, {}) == targets | {"temperature": temperature} | rates
  assert chosen_by_data("multitask_awr", problem, {}) == {
    "value_target": target,
    "advantage_target": target,
    "temperature": temperature,
    **rates,
  }
  assert chosen_by_data("single_task_awr", problem, {}) == {"temperature": temperature}


@pytest.mark.parametrize(
  ("num_tasks", "discount", "horizon", "expected"),
  [
    (35, 0.99, 200, "bootstrapped"),  # 0.13 of a return is the bootstrap
    (35, 0.99, 20, "monte_carlo"),  # 0.82
    (35, 0.99, 69, "bootstrapped"),  # 0.4998
    (35, 0.99, 68, "monte_carlo"),  # 0.5049
    (35, 0.9, 20, "bootstrapped"),  # 0.12
    (35, 1.0, 1000, "monte_carlo"),  # all of it, however long
    (6, 0.99, 200, "bootstrapped"),
    (5, 0.99, 200, "monte_carlo"),
    (35, 0.99, None, "monte_carlo"),  # not known
  ],
)
def test_targets_bootstrap_where_little_of_a_return_is_the_bootstrap_and_tasks_are_many(
  num_tasks, discount, horizon, expected
):
  assert by_data.value_target(Problem(3, 2, num_tasks, discount, horizon)) == expected


def test_a_setting_with_a_value_is_not_chosen():
  problem = Problem(3, 2, 35, 0.99, 200)
  found = chosen_by_data("macaw", problem, {"temperature": 2.0, "ema_decay": None})
  targets = dict.fromkeys(("inner_value_target", "outer_value_target", "advantage_target"), "bootstrapped")
  assert found == targets | {"fine_tune_value_learning_rate": 1e-4, "fine_tune_policy_learning_rate": 1e-4}
  assert chosen_by_data("focal", problem, {}) == {}


def draw(seed):
  """A batch of random transitions `[2, 8, ...]` of which some end their episode."""
  keys = iter(jax.random.split(jax.random.key(seed), 9))

  def normal(*sizes):
    return jax.random.normal(next(keys), (2, 8, *sizes))

  last = np.zeros((2, 8))
  last[:, 3::4] = 1.0
  discounts = np.full((2, 8), 0.5)
  return Transition(normal(3), normal(2), normal(), normal(3), np.zeros((2, 8)), last, normal(), normal(3), discounts)


@pytest.mark.parametrize("name", ["macaw", "multitask_awr"])
@pytest.mark.parametrize(("num_tasks", "horizon"), [(2, 200), (35, 200), (35, 20)])
def test_a_factory_makes_the_algorithm_of_the_chosen_settings(name, num_tasks, horizon):
  """By the program of an update, an adaptation and a step after it, which read these settings; nothing is computed."""
  problem = Problem(3, 2, num_tasks, 0.99, horizon)
  batch = TaskBatch(draw(1), draw(2), np.arange(2))

  def program(settings):
    def learn_adapt_and_go_on(key):
      algorithm = small_agent(problem, name, **settings)
      state, _ = algorithm.update(algorithm.init(key), batch, key)
      support = jax.tree.map(lambda leaf: leaf[0], batch.support)
      adapted = algorithm.adapt(state.params, support, key)
      net = state.params.net | adapted
      return state.params, algorithm.tuning.step(net, algorithm.tuning.init(net), support, key)

    return re.sub(r" at 0x[0-9a-f]+", "", str(jax.make_jaxpr(learn_adapt_and_go_on)(jax.random.key(0))))

  chosen = chosen_by_data(name, problem, {})
  left_open = program({})
  assert program(chosen) == left_open
  others = {
    setting: {"monte_carlo": "bootstrapped", "bootstrapped": "monte_carlo"}.get(value, 3.0)
    for setting, value in chosen.items()
  }
  for setting, other in others.items():
    assert program(chosen | {setting: other}) != left_open, setting
