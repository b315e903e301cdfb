"""Policy-gradient losses of whole episodes, bound to a policy: those of inner steps, and the outer one."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from macaw_jax.hyperparameters import check_choice
from macaw_jax.losses.feature_baseline import fit_baseline
from macaw_jax.losses.policy_gradient import (
  clipped_ratio_objective,
  dice_surrogate,
  loaded_dice_surrogate,
  log_prob_surrogate,
  ratio_objective,
  ratio_surrogate,
)
from macaw_jax.losses.returns import (
  generalised_advantage,
  masked_mean,
  normalise_advantage,
  returns_to_go,
  reward_of,
)
from macaw_jax.networks.gaussian import GaussianPolicy, log_prob
from macaw_jax.types import Array, Key, LossFn, Metrics, Params, Trajectory

SURROGATES = ("log_prob", "ratio", "dice", "loaded_dice")

Features = Callable[[Array], Array]
"""`(observations [E, H, O]) -> [E, H, F]`; `cubic_features` is one."""

OfEpisodes = Callable[[Trajectory], Array]
"""`(episodes [E, H, ...]) -> [E, H]`: a number for each step, from rewards; under a stop-gradient."""


def fitted_value(features: Features, *, discount: float, whiten: bool | Array = False) -> OfEpisodes:
  """V(s_t, t), fitted to the discounted returns of the very episodes that it is read on (`fit_baseline`).

  With `whiten` the returns are standardised before the fit.
  """

  def value(episodes: Trajectory) -> Array:
    returns = returns_to_go(reward_of(episodes), discount)
    return fit_baseline(features(episodes.observation), returns, episodes.mask, whiten=whiten)

  return value


def advantage_over(
  value: OfEpisodes, *, discount: float, lambda_: float | Array = 1.0, normalise: bool | Array = False
) -> OfEpisodes:
  """`generalised_advantage` over a value: return minus value where lambda is 1.

  With `normalise` it is standardised over the steps of the episodes.
  """

  def advantage(episodes: Trajectory) -> Array:
    values = value(episodes)
    raw = generalised_advantage(reward_of(episodes), values, episodes.mask, discount, lambda_)
    scale = jnp.sqrt(masked_mean(jnp.square(values), episodes.mask))
    return jax.lax.stop_gradient(jnp.where(normalise, normalise_advantage(raw, episodes.mask, scale), raw))

  return advantage


def policy_log_prob(policy: GaussianPolicy, params: dict[str, Params], episodes: Trajectory) -> Array:
  """Log pi(a | s) of the part `policy`, `[..., H]`."""
  return log_prob(policy.distribution(params["policy"], episodes.observation), episodes.action)


def policy_loss(policy: GaussianPolicy, advantage: OfEpisodes, *, clip: float | Array | None) -> LossFn:
  """-mean over valid steps of min(rho A, clip(rho, 1 - clip, 1 + clip) A), rho = pi(a | s) / behaviour(a | s).

  Schulman et al. 2017, equation 7; without `clip` -mean of rho A. Where no behaviour is recorded it is the policy
  itself, under a stop-gradient: rho is 1, and the gradient that of -mean A log pi.
  """

  def loss(params: dict[str, Params], episodes: Trajectory, key: Key) -> tuple[Array, Metrics]:
    now = policy_log_prob(policy, params, episodes)
    then = now if episodes.behaviour is None else log_prob(episodes.behaviour, episodes.action)
    if clip is None:
      terms = ratio_objective(now, then, advantage(episodes))
    else:
      terms = clipped_ratio_objective(now, then, advantage(episodes), clip)
    return -masked_mean(terms, episodes.mask), {}  # At ratio 1, with centred advantages, the loss is zero: no metric.

  return loss


def surrogate_loss(
  policy: GaussianPolicy,
  name: str,
  *,
  advantage: OfEpisodes,
  value: OfEpisodes,
  discount: float,
  loaded_lambda: float | Array = 1.0,
) -> LossFn:
  """-mean over valid steps of a surrogate of `macaw_jax.losses.policy_gradient`, for an inner step.

  Args:
    policy: whose parameters are the part `policy`.
    name: 'log_prob', 'ratio' (taken from the recorded behaviour where there is one), 'dice' or 'loaded_dice'.
    advantage: of all but 'dice'.
    value: the baseline of 'dice', which reads rewards; both as they are, discounted to the start of the episode. A step
      size that suits standardised advantages does not suit it.
    discount: gamma.
    loaded_lambda: of 'loaded_dice'.

  Raises:
    ValueError: there is no such surrogate.
  """
  check_choice(SURROGATES, surrogate=name)

  def terms(episodes: Trajectory, now: Array) -> Array:
    if name == "dice":
      from_start = discount ** jnp.arange(now.shape[-1])
      return dice_surrogate(now, from_start * reward_of(episodes), episodes.mask, from_start * value(episodes))
    if name == "loaded_dice":
      return loaded_dice_surrogate(now, advantage(episodes), episodes.mask, loaded_lambda)
    if name == "ratio" and episodes.behaviour is not None:
      return ratio_objective(now, log_prob(episodes.behaviour, episodes.action), advantage(episodes))
    if name == "ratio":
      return ratio_surrogate(now, advantage(episodes), episodes.mask)
    return log_prob_surrogate(now, advantage(episodes), episodes.mask)

  def loss(params: dict[str, Params], episodes: Trajectory, key: Key) -> tuple[Array, Metrics]:
    return -masked_mean(terms(episodes, policy_log_prob(policy, params, episodes)), episodes.mask), {}

  return loss
