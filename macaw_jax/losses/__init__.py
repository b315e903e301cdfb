"""Losses as pure functions, by mathematical object."""

from macaw_jax.losses.advantage_weighting import (
  advantage_of,
  advantage_regression,
  advantage_weighted_regression,
  advantage_weights,
  behaviour_cloning,
  enriched_advantage_weighted_regression,
  weighted_negative_log_likelihood,
)
from macaw_jax.losses.combinators import add, scale
from macaw_jax.losses.embeddings import (
  club_upper_bound,
  gaussian_negative_log_likelihood,
  info_nce,
  kl_to_standard_normal,
  pairwise_metric,
)
from macaw_jax.losses.values import (
  bootstrapped,
  bootstrapped_returns,
  monte_carlo,
  squared_error,
  td_lambda,
  td_lambda_returns,
  value_regression,
)

__all__ = [
  "add",
  "advantage_of",
  "advantage_regression",
  "advantage_weighted_regression",
  "advantage_weights",
  "behaviour_cloning",
  "bootstrapped",
  "bootstrapped_returns",
  "club_upper_bound",
  "enriched_advantage_weighted_regression",
  "gaussian_negative_log_likelihood",
  "info_nce",
  "kl_to_standard_normal",
  "monte_carlo",
  "pairwise_metric",
  "scale",
  "squared_error",
  "td_lambda",
  "td_lambda_returns",
  "value_regression",
  "weighted_negative_log_likelihood",
]
