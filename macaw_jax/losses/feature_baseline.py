"""Values as a ridge regression on fixed features, fitted to the episodes they are read on.

The baseline of gradient-based meta-learners (Duan et al. 2016, arXiv:1604.06778): refitted from nothing for each task
and each set of episodes, so that it has no parameters to keep. `observation` is `[..., H, O]`, time counts from zero.
"""

import chex
import jax
import jax.numpy as jnp

from macaw_jax.hyperparameters import check_positive
from macaw_jax.losses.returns import masked_mean
from macaw_jax.types import Array

OBSERVATION_BOUND = 10.0  # in the quadratic features
TIME_UNIT = 100.0  # steps, in the quadratic features, whatever the horizon
RESOLUTION = 10.0  # smallest penalty on a column, in rounding errors of its norm


def cubic_features(observation: Array) -> Array:
  """[o, o^2, o^3, t/H, (t/H)^2, (t/H)^3, 1]: `[..., H, O] -> [..., H, 3 O + 4]`.

  Those of NoRML (Yang et al. 2019, arXiv:1903.01063).
  """
  powers = [observation, observation**2, observation**3]
  return _with_time(powers, horizon=float(observation.shape[-2]))


def quadratic_features(observation: Array) -> Array:
  """[o, o^2, t/100, (t/100)^2, (t/100)^3, 1] with o clipped to [-10, 10]: `[..., H, O] -> [..., H, 2 O + 4]`.

  Those of Duan et al. 2016 and of ProMP (Rothfuss et al. 2019, arXiv:1810.06784).
  """
  clipped = jnp.clip(observation, -OBSERVATION_BOUND, OBSERVATION_BOUND)
  return _with_time([clipped, clipped**2], horizon=TIME_UNIT)


def fit_baseline(
  features: Array, target: Array, mask: Array, *, ridge: float = 1e-5, whiten: bool | Array = False
) -> Array:
  """V = X w with w = argmin |X w - y|^2 + ridge |w|^2 over the valid entries, evaluated on them.

  Solved as the least squares problem of the rows [X; D] against [y; 0], D = sqrt(ridge) I, by modified Gram-Schmidt on
  the columns of [X y; D 0] (Bjorck 1967): what is left of the last column, once all others are taken out of it, is
  y - V. X^T X is never formed: in single precision it is singular once a ridge of 1e-5 is lost beside sums of
  thousands, as with an observation that has constant entries. Here each column keeps its own sqrt(ridge) until it is
  taken out, so no norm is smaller than that, and constant or collinear columns do no harm. Where sqrt(ridge) itself is
  below the rounding errors of a column x_j, in single precision from |x_j| of about 2650 on, 10 epsilon |x_j| takes its
  place, where 1 + epsilon follows 1.

  Args:
    features: X, `[..., F]`.
    target: y, `[...]`, returns to go by custom.
    mask: `[...]`; entries that are not valid are not read.
    ridge: Positive.
    whiten: Whether y is standardised by its mean and standard deviation before the fit, which is undone after it.

  Returns:
    V, `[...]`, zero where masked, under a stop-gradient. Raises ValueError unless `ridge` is positive.
  """
  check_positive(ridge=ridge)
  chex.assert_equal_shape([target, mask])
  chex.assert_shape(features, (*target.shape, None))
  features, target, mask = jax.lax.stop_gradient((features, target, mask))

  mean = masked_mean(target, mask)
  deviation = jnp.sqrt(masked_mean(jnp.square(target - mean), mask))
  location = jnp.where(whiten, mean, 0.0)
  scale = jnp.where(jnp.logical_and(whiten, deviation > 0.0), deviation, 1.0)

  valid = mask.reshape(-1) > 0
  rows = jnp.where(valid[:, None], features.reshape(valid.size, -1), 0.0)  # [N, F]
  whitened = jnp.where(valid, (target.reshape(-1) - location) / scale, 0.0)  # [N]
  values = whitened - _ridge_residual(rows, whitened, ridge)
  return jnp.where(valid, location + scale * values, 0.0).reshape(target.shape)


def _ridge_residual(rows: Array, target: Array, ridge: float) -> Array:
  """The residual of the ridge regression of `target` on `rows`: `[N, F], [N] -> [N]`.

  The columns are taken out of the target twice: after once, rounding errors along them are left, with few rows two to
  three times as large as after twice.

  Products and sums alone. With the library's QR decomposition, on a CPU LAPACK's, 3 of 22 runs on a loaded machine
  stood still; why was not found, and it was not seen again.
  """
  num_rows, num_features = rows.shape
  resolution = RESOLUTION * jnp.finfo(rows.dtype).eps * jnp.linalg.norm(rows, axis=0)
  penalty = jnp.pad(jnp.diag(jnp.maximum(ridge**0.5, resolution)), ((0, 1), (0, 0)))
  system = jnp.concatenate([jnp.column_stack([rows, target]).T, penalty], axis=1)  # [F + 1, N + F], columns as rows

  def take_out(index: Array, columns: Array) -> Array:
    column = columns[index]
    shares = jnp.sum(columns * column, axis=1) / jnp.sum(column * column)
    return columns - jnp.where(jnp.arange(num_features + 1) > index, shares, 0.0)[:, None] * column

  orthogonal = jax.lax.fori_loop(0, num_features, take_out, system)

  def take_out_again(index: Array, residual: Array) -> Array:
    column = orthogonal[index]
    return residual - jnp.sum(residual * column) / jnp.sum(column * column) * column

  return jax.lax.fori_loop(0, num_features, take_out_again, orthogonal[-1])[:num_rows]


def _with_time(columns: list[Array], *, horizon: float) -> Array:
  """The columns, each `[..., H, O]`, then the first three powers of t / horizon, then one."""
  *leading, num_steps, _ = columns[0].shape
  time = jnp.arange(num_steps, dtype=columns[0].dtype) / horizon
  powers = jnp.stack([time, time**2, time**3, jnp.ones_like(time)], axis=-1)  # [H, 4]
  return jnp.concatenate([*columns, jnp.broadcast_to(powers, (*leading, num_steps, 4))], axis=-1)
