"""The mathematics of losses, as pure functions of arrays by mathematical object: no network is known here."""

from macaw_jax.losses.advantage_weighting import advantage_weights, weighted_negative_log_likelihood
from macaw_jax.losses.embeddings import (
  club_upper_bound,
  gaussian_negative_log_likelihood,
  info_nce,
  kl_to_standard_normal,
  pairwise_metric,
)
from macaw_jax.losses.feature_baseline import cubic_features, fit_baseline, quadratic_features
from macaw_jax.losses.policy_gradient import (
  clipped_ratio_objective,
  dice_surrogate,
  loaded_dice_surrogate,
  log_prob_surrogate,
  ratio_objective,
  ratio_surrogate,
  sampling_credit,
)
from macaw_jax.losses.returns import generalised_advantage, masked_mean, normalise_advantage, returns_to_go
from macaw_jax.losses.values import bootstrapped_returns, squared_error, td_lambda_returns

__all__ = [
  "advantage_weights",
  "bootstrapped_returns",
  "clipped_ratio_objective",
  "club_upper_bound",
  "cubic_features",
  "dice_surrogate",
  "fit_baseline",
  "gaussian_negative_log_likelihood",
  "generalised_advantage",
  "info_nce",
  "kl_to_standard_normal",
  "loaded_dice_surrogate",
  "log_prob_surrogate",
  "masked_mean",
  "normalise_advantage",
  "pairwise_metric",
  "quadratic_features",
  "ratio_objective",
  "ratio_surrogate",
  "returns_to_go",
  "sampling_credit",
  "squared_error",
  "td_lambda_returns",
  "weighted_negative_log_likelihood",
]
