"""Soft actor-critic: maximum-entropy values, policy and temperature, as functions of arrays.

Haarnoja et al. 2018, "Soft Actor-Critic Algorithms and Applications" (arXiv:1812.05905), called H below. The leading
axes `...` are whatever the caller has, one batch `[B]` or one batch a task `[T, B]`. In every function:

  mean, log_std  [..., A] of the policy's Gaussian before the squashing by tanh
  values         [2, ...] both critics
  log_prob       [...]    log pi(a|s)
  temperature    alpha, broadcast against the rows, so that each task can have its own (`[T, 1]`)

Which argument carries a gradient is written in each function: all the others are under a stop-gradient there, and the
caller need not stop any.
"""

import chex
import jax
import jax.numpy as jnp

from macaw_jax.losses.values import one_step_target, squared_error, twin_squared_error
from macaw_jax.types import Array

ACTION_MARGIN = 1e-3
"""How far recorded actions stay from the ends -1 and 1, where tanh has no inverse.

Closer to an end, float32 says little of an action: 1 - 1e-6 is known to 6 % of its distance from 1, and its inverse,
7.25, gives the mean of a narrow policy gradients of 1e5. At 1 - 1e-3 the inverse, 3.80, is known to five digits, and
the cut moves an action by no more than a two-thousandth of its range.
"""


def squash(mean: Array, log_std: Array, noise: Array, *, margin: float = 0.0) -> tuple[Array, Array]:
  """A reparameterised action in (-1, 1) and its log-density: `a = tanh(u)`, `u = mean + std noise` (H, appendix C).

  The noise `[..., A]` is a standard normal sample. Action `[..., A]` and `log pi(a)` `[...]` carry gradients to `mean`
  and `log_std`. The margin is that of `squashed_log_prob`.
  """
  chex.assert_equal_shape([mean, log_std, noise])
  pre_squash = mean + jnp.exp(log_std) * noise
  # The noise is (u - mean) / std, without what a sum of a large mean and a small deviation loses to rounding.
  return jnp.tanh(pre_squash), _log_density(noise, log_std, pre_squash, margin)


def squashed_log_prob(mean: Array, log_std: Array, pre_squash: Array, *, margin: float = 0.0) -> Array:
  """Log-density of `a = tanh(u)` for `u ~ N(mean, std^2)`, summed over action dimensions: `[..., A] -> [...]`.

  `log pi(a) = sum_i [ log N(u_i; mean_i, std_i^2) - log(1 - tanh(u_i)^2 + margin) ]` (H, appendix C). The logarithm
  of `1 - tanh(u)^2` is evaluated as `2 (log 2 - u - softplus(-2 u))`, which stays exact where `tanh` rounds to one. The
  released codes of PEARL and its relatives have a margin of 1e-6, which bounds the density of an action near the ends.
  `pre_squash` is u and not the action: `arctanh` of an action near one is lost to rounding.
  """
  chex.assert_equal_shape([mean, log_std, pre_squash])
  return _log_density((pre_squash - mean) * jnp.exp(-log_std), log_std, pre_squash, margin)


def _log_density(standardised: Array, log_std: Array, pre_squash: Array, margin: float) -> Array:
  log_normal = -0.5 * (standardised**2 + jnp.log(2.0 * jnp.pi)) - log_std
  log_derivative = 2.0 * (jnp.log(2.0) - pre_squash - jax.nn.softplus(-2.0 * pre_squash))
  if margin > 0.0:
    log_derivative = jnp.log(jnp.exp(log_derivative) + margin)
  return jnp.sum(log_normal - log_derivative, axis=-1)


def recorded_log_prob(mean: Array, log_std: Array, action: Array) -> Array:
  """`squashed_log_prob` of an action from data, at `u = arctanh(a)` with `a` cut to +-(1 - `ACTION_MARGIN`)."""
  limit = 1.0 - ACTION_MARGIN
  return squashed_log_prob(mean, log_std, jnp.arctanh(jnp.clip(action, -limit, limit)))


def soft_value(values: Array, log_prob: Array, temperature: Array | float) -> Array:
  """`min_j Q_j(s, a) - alpha log pi(a|s)` of one action a row: the state value of equation 3 of H, one sample of it.

  All arguments carry gradients.
  """
  chex.assert_shape(values, (2, *log_prob.shape))
  return jnp.min(values, axis=0) - temperature * log_prob


def soft_target(
  reward: Array,
  terminal: Array,
  next_values: Array,
  next_log_prob: Array,
  temperature: Array,
  *,
  discount: float,
) -> Array:
  """Target of both critics, `r + gamma (1 - terminal) (min_j Qbar_j(s', a') - alpha log pi(a'|s'))`.

  H, equations 2 and 3. It carries no gradient.

  Args:
    reward: `[...]`.
    terminal: `[...]`, 1.0 where the task ended the episode; the end by a time limit is no terminal.
    next_values: `[2, ...]`, target critics at the next state and `a' ~ pi(.|s')`.
    next_log_prob: `[...]`, `log pi(a'|s')`.
    temperature: alpha.
    discount: gamma.
  """
  chex.assert_equal_shape([reward, terminal, next_log_prob])
  next_value = soft_value(next_values, next_log_prob, temperature)
  return one_step_target(reward, terminal, next_value, discount=discount)


def critic_loss(values: Array, target: Array) -> Array:
  """Sum over both critics of the mean of `1/2 (Q_j(s, a) - y)^2` (H, equation 5); the values carry the gradient."""
  return 0.5 * twin_squared_error(values, target)


def actor_loss(values: Array, log_prob: Array, temperature: Array | float) -> Array:
  """Mean of `alpha log pi(a|s) - min_j Q_j(s, a)` for a reparameterised action `a` of the policy (H, equation 9).

  The gradient reaches the policy through `log_prob` and, in the values, through the action; the caller differentiates
  by the policy's parameters, not by the critics'.
  """
  chex.assert_shape(values, (2, *log_prob.shape))
  return jnp.mean(jax.lax.stop_gradient(temperature) * log_prob - jnp.min(values, axis=0))


def temperature_loss(log_temperature: Array, log_prob: Array, *, target_entropy: float) -> Array:
  """Mean of `-log alpha (log pi(a|s) + target entropy)`: alpha grows while the entropy is below its target, in nats.

  H, equation 18, with `log alpha` in the place of `alpha`, as implementations do: the same sign of the gradient, and a
  step that does not shrink with alpha. `log_temperature` carries the gradient.
  """
  return -jnp.mean(log_temperature * jax.lax.stop_gradient(log_prob + target_entropy))


def state_value_loss(prediction: Array, values: Array, log_prob: Array, temperature: Array | float) -> Array:
  """Mean of `(V(s) - [min_j Q_j(s, a) - alpha log pi(a|s)])^2` for `a ~ pi(.|s)`; V(s), `[...]`, carries the gradient.

  Haarnoja et al. 2018, arXiv:1801.01290, equations 3 and 5, there with one half and one critic; so in PEARL (Rakelly et
  al. 2019, arXiv:1903.08254).
  """
  return squared_error(prediction, jax.lax.stop_gradient(soft_value(values, log_prob, temperature)))


def policy_regularisation(mean: Array, log_std: Array, *, weight: float = 1e-3) -> Array:
  """`weight (mean of mean^2 + mean of log_std^2)`: keeps the policy off the flat ends of tanh. Both carry gradients.

  From the released code of soft actor-critic and of PEARL, with this weight.
  """
  return weight * (jnp.mean(mean**2) + jnp.mean(log_std**2))
