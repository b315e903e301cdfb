"""Behaviour-regularised actor-critic (BRAC) conditioned on a latent task variable, as FOCAL has it.

Li et al. 2021, "FOCAL: Efficient Fully-Offline Meta-Reinforcement Learning via Distance Metric Learning and Behavior
Regularization" (arXiv:2010.01112), on Wu et al. 2019 (arXiv:1911.11361). The losses of `soft_actor_critic`, and with a
discriminator g(s, a, z), b ~ pi(.|s, z) the action sample of the other losses and a recorded:

  D(s)                log softplus(g(s, b, z)) - softplus(g(s, a, z)) + 1, an estimate of KL(pi || data)
  policy_loss         that of soft actor-critic + alpha mean D
  discriminator_loss  -mean D + 5 mean max(||grad_c g(s, c, z)|| - 1, 0)^2,  c = b + x (a - b), x uniform in [0, 1]
  multiplier_loss     -alpha (mean D - divergence target), only where alpha is adaptive

alpha is either behaviour_penalty times the mean of |min_j Q_j(s, b, z)|, under a stop-gradient, so that one number
serves all tasks and reward scales; or FOCAL's own rule, alpha <- clip(alpha + rate (mean D - target), 0, maximum),
which starts at behaviour_penalty.

As released, `penalise_score` takes g itself in place of its slope, alpha is cut where losses read it and itself drifts
(`project_penalty`), and some tasks have alpha D(s) in the Bellman target too (`value_penalty`), at the state s of the
row: that of s' would need the action recorded there.
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

from macaw_jax.actor_critics.actor_critic import (
  ActionSample,
  ActorCritic,
  MakeActorCritic,
  beside,
  check_common,
  latent_policy,
  split_loss_key,
)
from macaw_jax.actor_critics.soft_actor_critic import soft_actor_critic
from macaw_jax.hyperparameters import check_not_negative, part, require
from macaw_jax.losses.behaviour_regularisation import dual_kl, gradient_penalty, score_penalty
from macaw_jax.losses.behaviour_regularisation import multiplier_loss as dual_ascent_loss
from macaw_jax.networks.latent import STANDARD_NETWORKS, LatentNetworks
from macaw_jax.types import LATENT, Array, Key, Metrics, Params, Problem, Transition

TRAINS = {"discriminator_loss": ("discriminator",)}  # beside the table of `soft_actor_critic`
TRAINS_ADAPTIVE = {"multiplier_loss": ("multiplier",)}  # and with an adaptive alpha

Divergence = Callable[[Array, Array], Array]
"""`(scores of the policy's actions [...], scores of recorded actions [...]) -> D [...]`."""

DiscriminatorPenalty = Callable[[Callable[[Array], Array], Array], Array]
"""`(g, actions [T, B, A]) -> scalar`, added to the discriminator's loss; g is `(actions) -> scores [T, B]`."""


def penalise_slope(score: Callable[[Array], Array], action: Array) -> Array:
  """`gradient_penalty` of the scores by their actions, as Wu et al. and Li et al. write."""
  # Every score depends on its own row's action alone, so that one gradient of their sum is that of each.
  return gradient_penalty(jax.grad(lambda action: jnp.sum(score(action)))(action))


def penalise_score(score: Callable[[Array], Array], action: Array, *, weight: float = 5.0) -> Array:
  """`score_penalty` at these actions, as the released code of FOCAL has it."""
  return score_penalty(score(action), weight=weight)


@part
def brac(
  *,
  hidden_sizes: Sequence[int] = (128, 128),
  tau: float = 0.005,
  reward_scale: float = 100.0,
  behaviour_penalty: float = 1.0,
  divergence_target: float | None = None,
  max_penalty: float = 2000.0,
  penalty_rate: float = 1.0,
  project_penalty: bool = True,
  value_penalty: bool = False,
  divergence: Divergence = dual_kl,
  discriminator_penalty: DiscriminatorPenalty = penalise_slope,
  networks: LatentNetworks = STANDARD_NETWORKS,
) -> MakeActorCritic:
  """BRAC: the parts of `sac`, `discriminator`, and `multiplier` (alpha) where it is adaptive.

  Args:
    hidden_sizes: Widths of the hidden layers of every network.
    tau: Share of a part that enters its target network at each update.
    reward_scale: kappa, on the rewards of the Bellman target alone. Data are scaled such that returns have size one.
    behaviour_penalty: alpha in units of the mean |Q|; with a divergence target, the alpha to start from.
    divergence_target: The divergence per state at which an adaptive alpha rests; None keeps alpha in its fixed ratio to
      the values.
    max_penalty: Upper bound of an adaptive alpha.
    penalty_rate: eta, the rate of an adaptive alpha.
    project_penalty: Whether an adaptive alpha itself stays in [0, max_penalty]. If not, it is cut where losses read it,
      and may drift beyond, as released.
    value_penalty: Whether the Bellman target is kappa r + gamma (1 - terminal) (Vbar(s', z) - alpha D(s)).
    divergence: D of scores.
    discriminator_penalty: Keeps the discriminator smooth, by its scores between recorded actions and the policy's.
    networks: How the networks are built.

  Raises:
    ValueError: for a setting outside its range, or a projected alpha that starts above its upper bound.
  """
  check_common(hidden_sizes=hidden_sizes, tau=tau, reward_scale=reward_scale)
  check_not_negative(behaviour_penalty=behaviour_penalty, max_penalty=max_penalty, penalty_rate=penalty_rate)
  if divergence_target is not None:
    check_not_negative(divergence_target=divergence_target)
  if divergence_target is not None and project_penalty:
    require(
      behaviour_penalty <= max_penalty,
      f"behaviour_penalty={behaviour_penalty} must not exceed max_penalty={max_penalty}",
    )

  def make(problem: Problem, latent_size: int) -> ActorCritic:
    policy = latent_policy(problem, latent_size, hidden_sizes, networks)
    discriminator = networks.value(problem.observation_size + latent_size + problem.action_size, hidden_sizes)

    def score(params: dict[str, Params], inputs: Array, action: Array) -> Array:
      """g: [T, B, I], [T, B, A] -> [T, B]."""
      return discriminator.apply(params["discriminator"], jnp.concatenate([inputs, action], axis=-1))

    def divergences(params: dict[str, Params], inputs: Array, action: Array, batch: Transition) -> Array:
      """D of every row: [T, B]."""
      return divergence(score(params, inputs, action), score(params, inputs, batch.action))

    def penalty(
      params: dict[str, Params], batch: Transition, inputs: Array, sample: ActionSample, values: Array
    ) -> tuple[Array, Metrics]:
      found = divergences(params, inputs, sample.action, batch)
      if divergence_target is None:
        factor = behaviour_penalty * jax.lax.stop_gradient(jnp.mean(jnp.abs(jnp.min(values, axis=0))))
      else:
        factor = jnp.clip(params["multiplier"], 0.0, max_penalty)
      return factor * found, {"divergence": jnp.mean(found), "penalty_factor": factor}

    def discriminator_loss(params: dict[str, Params], batch: Transition, key: Key) -> tuple[Array, Metrics]:
      keys = split_loss_key(key)
      inputs = beside(batch.observation, params[LATENT])
      action = policy.sample(params["policy"], inputs, keys.action).action
      share = jax.random.uniform(keys.interpolation, (*batch.reward.shape, 1))
      between = action + share * (batch.action - action)
      roughness = discriminator_penalty(lambda action: score(params, inputs, action), between)
      loss = roughness - jnp.mean(divergences(params, inputs, action, batch))
      return loss, {"discriminator_loss": loss, "gradient_penalty": roughness}

    def multiplier_loss(params: dict[str, Params], batch: Transition, key: Key) -> tuple[Array, Metrics]:
      inputs = beside(batch.observation, params[LATENT])
      action = policy.sample(params["policy"], inputs, split_loss_key(key).action).action
      found = divergences(params, inputs, action, batch)
      assert divergence_target is not None  # without a target there is no such loss
      loss = dual_ascent_loss(params["multiplier"], found, target=divergence_target)
      return loss, {"multiplier_loss": loss}

    plain = soft_actor_critic(
      problem,
      latent_size,
      hidden_sizes,
      tau=tau,
      reward_scale=reward_scale,
      networks=networks,
      penalty=penalty,
      value_penalty=penalty if value_penalty else None,
    )
    fixed = plain._replace(
      init={**plain.init, "discriminator": discriminator.init},
      losses={**plain.losses, "discriminator_loss": discriminator_loss},
      trains={**plain.trains, **TRAINS},
    )
    if divergence_target is None:
      return fixed
    return fixed._replace(
      init={**fixed.init, "multiplier": lambda key: jnp.asarray(behaviour_penalty, jnp.float32)},
      losses={**fixed.losses, "multiplier_loss": multiplier_loss},
      trains={**fixed.trains, **TRAINS_ADAPTIVE},
      project={"multiplier": lambda multiplier: jnp.clip(multiplier, 0.0, max_penalty)} if project_penalty else {},
      learning_rates={"multiplier": penalty_rate},
      own_gradients=("multiplier_loss",),
    )

  return make
