"""Losses bound to networks, `(params, batch, key) -> (scalar, metrics)`, and losses made of losses."""

from macaw_jax.objectives.combinators import add, over_tasks, scale
from macaw_jax.objectives.policies import (
  advantage,
  advantage_regression,
  advantage_weighted_regression,
  behaviour_cloning,
  macaw_policy_loss,
)
from macaw_jax.objectives.values import bootstrapped, make_target, monte_carlo, td_lambda, value_regression

__all__ = [
  "add",
  "advantage",
  "advantage_regression",
  "advantage_weighted_regression",
  "behaviour_cloning",
  "bootstrapped",
  "macaw_policy_loss",
  "make_target",
  "monte_carlo",
  "over_tasks",
  "scale",
  "td_lambda",
  "value_regression",
]
