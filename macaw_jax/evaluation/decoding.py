"""How much of a task a linear map reads off an adapted agent.

Features are all that adaptation changed, flattened: a latent variable, or the weights of networks. From them a ridge
regression reads the task's parameters, fitted on training tasks and tried on supports that it has not seen. An agent
that adapts to the behaviour in a support, and not to the task, is decoded where the behaviour is as in training, and
nowhere else.
"""

from collections.abc import Sequence
from typing import NamedTuple

import chex
import jax
import numpy as np

from macaw_jax.types import Params

# Ridge penalties that are tried, as multiples of the mean squared length of a feature vector.
PENALTIES = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0)
_MOST_DEVIATIONS = 10.0  # of a feature: a rare support on which adaptation diverged must not decide
_SMALLEST_STD = 1e-9  # relative: a feature that moves by its rounding alone says nothing


class Scale(NamedTuple):
  """Standardises columns; one that does not move becomes zero."""

  mean: np.ndarray  # [F]
  std: np.ndarray  # [F]  infinite where a column does not move

  def __call__(self, rows: np.ndarray) -> np.ndarray:
    """Rows `[N, F]` as deviations from the mean in standard deviations."""
    return (rows - self.mean) / self.std


class Decoder(NamedTuple):
  """A linear map from features to parameters, both standardised: `W = X^T A`, X the N fitted features."""

  feature_scale: Scale
  parameter_scale: Scale
  features: np.ndarray  # X [N, F]  standardised, at most ten deviations from their mean
  dual: np.ndarray  # A [N, P]

  def __call__(self, features: np.ndarray) -> np.ndarray:
    """The parameters `[M, P]`, in their own units, that features `[M, F]` speak for."""
    decoded = _standardised(self.feature_scale, features) @ self.features.T @ self.dual
    std = self.parameter_scale.std
    return self.parameter_scale.mean + decoded * np.where(np.isfinite(std), std, 0.0)


class Decoding(NamedTuple):
  """How well parameters are decoded."""

  r_squared: float  # 1 - squared error / variance over tasks, of standardised parameters; NaN where all are equal
  error: float  # mean Euclidean distance of decoded to true parameters, in their own units
  chance: float  # mean distance of true parameters to those of a training task drawn at random


def flatten_features(adapted: dict[str, Params]) -> np.ndarray:
  """All leaves `[N, ...]` of what adaptation changed, side by side: `[N, F]` float64."""
  leaves = [np.asarray(leaf, np.float64) for leaf in jax.tree.leaves(adapted)]
  return np.concatenate([leaf.reshape(len(leaf), -1) for leaf in leaves], axis=1)


def fit_decoder(
  features: np.ndarray, parameters: np.ndarray, groups: np.ndarray, penalties: Sequence[float] = PENALTIES
) -> Decoder:
  """Ridge regression in its dual form: `A = (X X^T + c I)^-1 Y`, X and Y standardised.

  The cost is that of N x N matrices, however many features there are. The penalty c is that of the smallest squared
  error on left-out groups, which the dual gives without fitting again: with `R = c (X X^T + c I)^-1`, the error on the
  rows G when they are left out is `(R - 1 / N)_GG^-1 (R Y)_G`. The mean of the left-out rows is not known to it either.

  Args:
    features: `[N, F]`, finite.
    parameters: `[N, P]`, of the task that each row was adapted to.
    groups: `[N]`, rows that are left out together share a number: those of a task, where others are to be decoded.
    penalties: to choose from, as multiples of the mean of X X^T's diagonal.

  Raises:
    ValueError: there is one group, or a feature is not finite.
  """
  decoder, _ = _fit(features, parameters, groups, penalties)
  return decoder


def cross_validated_r_squared(
  features: np.ndarray, parameters: np.ndarray, groups: np.ndarray, penalties: Sequence[float] = PENALTIES
) -> float:
  """1 - squared error / variance of parameters, those of each group decoded by what is fitted to the other groups.

  Arguments and errors as of `fit_decoder`. About zero where features say nothing, for the largest penalty decodes the
  mean of the other groups; NaN where all parameters are equal.
  """
  decoder, error = _fit(features, parameters, groups, penalties)
  variance = float(np.sum(decoder.parameter_scale(parameters) ** 2))
  return 1.0 - error / variance if variance > 0.0 else float("nan")


def _fit(
  features: np.ndarray, parameters: np.ndarray, groups: np.ndarray, penalties: Sequence[float]
) -> tuple[Decoder, float]:
  """The decoder of `fit_decoder`, and the squared error on left-out groups, in standardised parameters."""
  chex.assert_rank([features, parameters, groups], [2, 2, 1])
  chex.assert_equal_shape_prefix([features, parameters, groups], 1)
  if len(np.unique(groups)) < 2:
    raise ValueError("a decoder is fitted to two groups or more, got 1")
  if not np.isfinite(features).all():
    raise ValueError("features to decode: expected finite values")
  features, parameters = features.astype(np.float64), parameters.astype(np.float64)  # A gram matrix squares rounding.
  feature_scale, parameter_scale = _fit_scale(features), _fit_scale(parameters)
  x, y = _standardised(feature_scale, features), parameter_scale(parameters)
  gram = x @ x.T
  unit = float(np.mean(np.diag(gram))) or 1.0  # zero where no feature moves

  def solve(penalty: float) -> tuple[float, np.ndarray]:
    inverse = np.linalg.inv(gram + penalty * unit * np.eye(len(gram)))
    residual = penalty * unit * inverse
    left_out = [np.flatnonzero(groups == group) for group in np.unique(groups)]
    errors = [np.linalg.solve(residual[np.ix_(rows, rows)] - 1.0 / len(gram), residual[rows] @ y) for rows in left_out]
    return float(sum(np.sum(error**2) for error in errors)), inverse @ y

  error, dual = min((solve(penalty) for penalty in penalties), key=lambda found: found[0])
  return Decoder(feature_scale, parameter_scale, x, dual), error


def measure_decoding(
  decoder: Decoder, features: np.ndarray, parameters: np.ndarray, train_parameters: np.ndarray
) -> Decoding:
  """How near a decoder comes to the parameters of supports that it has not seen.

  Args:
    decoder: fitted on training tasks.
    features: `[M, F]`.
    parameters: `[M, P]`, of the task of each row.
    train_parameters: `[T, P]`, one row a training task.
  """
  decoded, true = decoder(features), decoder.parameter_scale(parameters)
  error = decoder.parameter_scale(decoded) - true
  # Their variance does not say whether all are the same: the mean of equal numbers is rounded.
  differ = len(np.unique(true, axis=0)) > 1
  variance = float(np.sum((true - true.mean(axis=0)) ** 2))
  distances = np.linalg.norm(parameters[:, None] - train_parameters[None], axis=-1)
  return Decoding(
    r_squared=1.0 - float(np.sum(error**2)) / variance if differ else float("nan"),
    error=float(np.mean(np.linalg.norm(decoded - parameters, axis=-1))),
    chance=float(np.mean(distances)),
  )


def _standardised(scale: Scale, features: np.ndarray) -> np.ndarray:
  return np.clip(scale(features), -_MOST_DEVIATIONS, _MOST_DEVIATIONS)


def _fit_scale(rows: np.ndarray) -> Scale:
  mean, std = rows.mean(axis=0), rows.std(axis=0)
  return Scale(mean, np.where(std > _SMALLEST_STD * (1.0 + np.abs(mean)), std, np.inf))
