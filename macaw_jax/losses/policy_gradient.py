"""Policy-gradient surrogates: functions of log-probabilities whose derivatives estimate those of the expected return.

Everything is per step, `[..., H]`, with time as the last axis. The sum over time of one episode is its surrogate, to
be maximised; `mask` is 1.0 on every step up to and including the one that ends the episode, and a function that takes
it reads nothing where it is zero, and is zero there. Write l_t = log pi(a_t|s_t), G_t for the return to go, and f(x) =
exp(x - sg x), whose value is 1 and whose first derivative is that of x; sg holds its argument fixed.

The surrogates of the inner step have the same first derivative in expectation, sum_t A_t grad l_t. They differ in the
second one, which a meta-gradient through a policy-gradient step reads:

  log_prob_surrogate     E sum A_t hess l_t: without the products of scores
  ratio_surrogate        E sum A_t (hess l_t + grad l_t grad l_t^T): without the products across time; little variance
  dice_surrogate         the Hessian of the expected return, with much variance
  loaded_dice_surrogate  from the ratio's (lambda = 0) to DiCE's (lambda = 1)

The last three are the second derivative of one objective, J(theta + alpha E grad), in which the data of the inner step
depend on no parameter. `sampling_credit` is the part of the other, E J(theta + alpha grad), that
`log_prob_surrogate` leaves out; with any other surrogate it would count the choice of these data twice.

`log_prob`, l_t, carries the gradient. Advantages, rewards, baselines, returns and stored log-probabilities are data,
under a stop-gradient.
"""

import chex
import jax
import jax.numpy as jnp

from macaw_jax.losses.returns import decayed_sum
from macaw_jax.types import Array


def log_prob_surrogate(log_prob: Array, advantage: Array, mask: Array) -> Array:
  """l_t A_t (Williams 1992): the inner objective of MAML as first published (Finn et al. 2017, arXiv:1703.03400)."""
  chex.assert_equal_shape([log_prob, advantage, mask])
  return _valid(log_prob, mask) * _data(advantage, mask)


def ratio_surrogate(log_prob: Array, advantage: Array, mask: Array) -> Array:
  """f(l_t) A_t, of value A_t: ProMP's low-variance curvature surrogate (Rothfuss et al. 2019, arXiv:1810.06784)."""
  chex.assert_equal_shape([log_prob, advantage, mask])
  return _magic_box(_valid(log_prob, mask)) * _data(advantage, mask)


def dice_surrogate(log_prob: Array, reward: Array, mask: Array, baseline: Array | None = None) -> Array:
  """f(l_0 + ... + l_t) r_t + (1 - f(l_t)) b_t, of value r_t (Foerster et al. 2018, arXiv:1802.05098).

  All its derivatives are unbiased for those of the expected sum of r_t, with any baseline that does not depend on a_t.
  Rewards are discounted to the start of the episode where the objective is; the baseline estimates sum_{j >= t} r_j.
  """
  chex.assert_equal_shape([log_prob, reward, mask])
  log_prob = _valid(log_prob, mask)
  surrogate = _magic_box(jnp.cumsum(log_prob, axis=-1)) * _data(reward, mask)
  if baseline is None:
    return surrogate
  chex.assert_equal_shape([log_prob, baseline])
  return surrogate + (1.0 - _magic_box(log_prob)) * _data(baseline, mask)


def loaded_dice_surrogate(log_prob: Array, advantage: Array, mask: Array, lambda_: float | Array) -> Array:
  """A_t (f(w_t) - f(v_t)) with w_t = v_t + l_t, v_t = lambda w_{t-1}, v_0 = 0; of value zero.

  Loaded DiCE (Farquhar et al. 2019, arXiv:1909.10549). The powers of lambda, in [0, 1], say how much of the past
  credits a step. Derivatives at lambda = 0 are those of `ratio_surrogate`; at lambda = 1 with the return to go as
  advantage, per episode those of `dice_surrogate`.
  """
  chex.assert_equal_shape([log_prob, advantage, mask])
  log_prob = _valid(log_prob, mask)
  with_present = decayed_sum(log_prob, lambda_)
  past = with_present - log_prob
  return (_magic_box(with_present) - _magic_box(past)) * _data(advantage, mask)


def ratio_objective(log_prob: Array, old_log_prob: Array, advantage: Array) -> Array:
  """rho_t A_t with rho_t = exp(l_t - l_old_t), l_old as stored when sampling.

  Where both agree, its gradient is the policy gradient.
  """
  chex.assert_equal_shape([log_prob, old_log_prob, advantage])
  return jnp.exp(log_prob - jax.lax.stop_gradient(old_log_prob)) * jax.lax.stop_gradient(advantage)


def clipped_ratio_objective(log_prob: Array, old_log_prob: Array, advantage: Array, clip: float | Array) -> Array:
  """min(rho_t A_t, clip(rho_t, 1 - eps, 1 + eps) A_t), PPO's (Schulman et al. 2017, arXiv:1707.06347, equation 7).

  No gradient comes from a ratio that is already beyond the clip on the side to which its advantage would move it. The
  old log-probability is the stored one: recomputed, the ratio would be 1 and the clip never act.
  """
  chex.assert_equal_shape([log_prob, old_log_prob, advantage])
  ratio = jnp.exp(log_prob - jax.lax.stop_gradient(old_log_prob))
  advantage = jax.lax.stop_gradient(advantage)
  return jnp.minimum(ratio * advantage, jnp.clip(ratio, 1.0 - clip, 1.0 + clip) * advantage)


def sampling_credit(log_prob: Array, mask: Array, post_return: Array) -> Array:
  """The loss that credits the choice of the inner data with what adaptation makes of them (E-MAML): `[]`.

  - mean_i (R_i - mean_j R_j) mean_k sum_t l_ikt

  after Stadie et al. 2018 (arXiv:1803.01118), with the return of a task in place of its single rewards. Added to the
  loss of plain MAML with `log_prob_surrogate`, it points along the gradient of E J(theta + alpha grad). Its own scale
  is smaller than exact: with E episodes and T tasks, the missing part is T E / (T - 1) times its expected gradient,
  because episodes are averaged and a task's own return is in the mean that it is compared with.

  Args:
    log_prob: l of the data that adaptation reads, under the parameters before it, `[T, E, H]`.
    mask: `[T, E, H]`.
    post_return: R, mean return of each task after adaptation, `[T]`.
  """
  chex.assert_rank([log_prob, post_return], [3, 1])
  chex.assert_equal_shape([log_prob, mask])
  chex.assert_equal_shape_prefix([log_prob, post_return], 1)
  advantage = jax.lax.stop_gradient(post_return - jnp.mean(post_return))
  score = jnp.mean(jnp.sum(_valid(log_prob, mask), axis=-1), axis=-1)  # [T]
  return -jnp.mean(advantage * score)


def _magic_box(exponent: Array) -> Array:
  """f(x) = exp(x - sg x): 1, with all derivatives of exp at zero."""
  return jnp.exp(exponent - jax.lax.stop_gradient(exponent))


def _valid(values: Array, mask: Array) -> Array:
  """The values, zero where masked."""
  return jnp.where(mask > 0, values, 0.0)


def _data(values: Array, mask: Array) -> Array:
  """The values, under a stop-gradient, zero where masked."""
  return jax.lax.stop_gradient(_valid(values, mask))
