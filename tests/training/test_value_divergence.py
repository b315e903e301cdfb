"""When a value loss is larger than any return of the data explains, and what is said of it."""

import math

import pytest

from macaw_jax.algorithms.settings import defaults_of, make_algorithm
from macaw_jax.training.value_divergence import Divergence, describe_divergence, divergence
from macaw_jax.types import Problem

LOSSES = {"critic_loss": 10_000.0, "value_loss": 1.0}


@pytest.mark.parametrize(
  ("metrics", "expected"),
  [
    ({"value_loss": 0.4, "critic_loss": 2_000.0}, None),
    ({"value_loss": 100.0, "critic_loss": 1e6}, None),
    ({"value_loss": 101.0, "critic_loss": 1e6}, Divergence("value_loss", 101.0, 101.0)),
    ({"value_loss": 200.0, "critic_loss": 5e6}, Divergence("critic_loss", 5e6, 500.0)),
    ({"value_loss": math.inf, "critic_loss": 1.0}, Divergence("value_loss", math.inf, math.inf)),
    ({"value_loss": math.nan, "critic_loss": math.nan}, None),  # Such an update is skipped, and said to be.
    ({"policy_loss": 1e9, "critic_loss": 1.0}, None),  # another loss, and a value loss that is not reported
  ],
)
def test_a_value_loss_above_a_hundred_mean_squares_of_the_returns(metrics, expected):
  assert divergence(metrics, LOSSES) == expected


def test_the_line_names_metric_value_and_what_to_change():
  problem = Problem(2, 2, 80, 0.99, 20)._asdict()
  found = describe_divergence(Divergence("value_loss", 123_456.0, 123_456.0), problem)
  for words in ("value_loss = 1.23e+05", "0.99^20 = 0.82 of a return", "monte_carlo", "learning rates"):
    assert words in found
  assert "^" not in describe_divergence(Divergence("value_loss", 123_456.0, 123_456.0), {})


@pytest.mark.parametrize("name", ["pearl_offline", "focal", "unicorn", "csro", "corro", "bati"])
def test_losses_of_actor_critics_are_in_units_of_their_reward_scale(name):
  settings = defaults_of(name)
  settings["actor_critic"] |= {"name": "iql", "reward_scale": 20.0}
  algorithm = make_algorithm(name, Problem(3, 2, 4, 0.9), settings)
  assert algorithm.value_losses == {"critic_loss": 400.0, "value_loss": 400.0}
