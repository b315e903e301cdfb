"""NoRML: meta-learning to adapt to changed dynamics, sensors and actuators without rewards.

Yang et al. 2019, "NoRML: No-Reward Meta Learning", algorithms 1 and 2, and the authors' released code.

Adaptation, on episodes D of the policy theta:
  L_in(theta) = -mean over D of A_psi(s, a, s') log pi_theta(a | s)
  theta'      = theta + offset - step sizes * grad L_in(theta)
Meta-training, on episodes of theta', by rewards:
  L_out = -mean of min(rho A, clip(rho, 1 - clip, 1 + clip) A),    rho = pi_theta' / (pi_theta' that acted)

theta (log standard deviation included), psi, the offset and the step sizes if they are learned descend L_out together,
through adaptation. The policies' own dependence of D on theta is left out, as in the paper. A is the return to the end
of the episode less a value fitted to the episodes of the task.

Without a learned advantage L_in has the reward advantage in place of A_psi, in ratio form: the clipped objective at
ratio 1. That, without the offset, is MAML; with steps of size zero, domain randomisation. `configs/norml.py` has all.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import optax

from macaw_jax.adaptation.policy_gradient_step import policy_gradient_step
from macaw_jax.algorithms.arguments import (
  check_counts,
  check_hidden_sizes,
  check_learning_rates,
  passes_arguments_to,
)
from macaw_jax.hyperparameters import require
from macaw_jax.learners.gradient import MakeOptimizer, init_parts, linear_decay, meta_learner
from macaw_jax.learners.policy_gradient import with_epochs
from macaw_jax.losses.feature_baseline import cubic_features
from macaw_jax.losses.policy_gradient import ratio_surrogate
from macaw_jax.losses.policy_gradient_steps import (
  OfEpisodes,
  advantage_over,
  fitted_value,
  policy_log_prob,
  policy_loss,
)
from macaw_jax.losses.returns import masked_mean
from macaw_jax.networks.gaussian import GaussianPolicy, act_with_gaussian, learned_gaussian_policy
from macaw_jax.networks.learned_advantage import learned_advantage_function
from macaw_jax.types import (
  Adaptation,
  Algorithm,
  Array,
  Key,
  LossFn,
  Metrics,
  Network,
  Params,
  Problem,
  TimeStep,
  Trajectory,
)

# Which loss trains what. The inner loss reaches the offset not at all, and trains nothing by itself.
TRAINS = {"outer_loss": ("policy", "advantage", "offset", "step_size")}


class Objective(NamedTuple):
  """What NoRML learns and by what it is judged, before an optimiser is chosen."""

  init_net: Callable[[Key], dict[str, Params]]
  policy: GaussianPolicy
  adaptation: Adaptation
  outer_loss: LossFn
  reads_reward: bool  # whether adaptation does
  act: Callable[[dict[str, Params], TimeStep, Key | None], Array]


def inner_loss(
  policy: GaussianPolicy, advantage: Network, of_rewards: OfEpisodes, *, learned_advantage: bool | Array
) -> LossFn:
  """-mean over valid steps of A_psi log pi (equation 4), or of A exp(log pi - sg log pi) with the advantage of rewards.

  The second has the gradient of -mean A log pi and another Hessian. Only with the first may rewards be missing; where
  `learned_advantage` is traced, both are computed and one is chosen.
  """

  def loss(params: dict[str, Params], episodes: Trajectory, key: Key) -> tuple[Array, Metrics]:
    del key
    now = policy_log_prob(policy, params, episodes)

    def learned() -> Array:
      return advantage.apply(params["advantage"], episodes.observation, episodes.action, episodes.next_observation)

    if learned_advantage is True:
      terms = learned() * now
    elif learned_advantage is False:
      terms = ratio_surrogate(now, of_rewards(episodes), episodes.mask)
    else:
      # Factor by factor: a reward that is not finite must not reach the gradient of what is chosen.
      ratio = ratio_surrogate(now, jnp.ones_like(now), episodes.mask)
      terms = jnp.where(learned_advantage, learned(), of_rewards(episodes)) * jnp.where(learned_advantage, now, ratio)
    return -masked_mean(terms, episodes.mask), {}

  return loss


def objective(
  problem: Problem,
  *,
  learned_advantage: bool = True,
  offset: bool = True,
  step_size: float = 10.0,
  learn_step_sizes: bool = False,
  first_order: bool = False,
  initial_log_std: float = -0.75,
  normalise_advantages: bool = True,
  whiten_values: bool = False,
  clip: float = 0.2,
  hidden_sizes: Sequence[int] = (50, 50),
  activation: str = "tanh",
  advantage_hidden_sizes: Sequence[int] = (50, 50),
  advantage_activation: str = "tanh",
) -> Objective:
  """The parts of NoRML; see `norml` for the arguments."""
  check_hidden_sizes(hidden_sizes=hidden_sizes, advantage_hidden_sizes=advantage_hidden_sizes)
  require(step_size >= 0, f"step_size={step_size} must not be negative")
  require(clip > 0, f"clip={clip} must be positive")
  require(abs(initial_log_std) < math.inf, f"initial_log_std={initial_log_std} must be finite")
  require(
    (first_order & learned_advantage) == 0,
    "first_order=True with learned_advantage=True: a learned advantage learns through second order alone",
  )
  sizes = (problem.observation_size, problem.action_size)
  policy = learned_gaussian_policy(*sizes, hidden_sizes, activation=activation, initial_log_std=initial_log_std)
  advantage = learned_advantage_function(*sizes, advantage_hidden_sizes, activation=advantage_activation)
  value = fitted_value(cubic_features, discount=problem.discount, whiten=whiten_values)
  adaptation = policy_gradient_step(
    inner_loss(
      policy, advantage, advantage_over(value, discount=problem.discount), learned_advantage=learned_advantage
    ),
    step_size=step_size,
    learn_step_sizes=learn_step_sizes,
    offset=offset,
    first_order=first_order,
  )
  judged_by = advantage_over(value, discount=problem.discount, normalise=normalise_advantages)
  init_net = init_parts({"policy": policy.init, "advantage": advantage.init})
  outer_loss = policy_loss(policy, judged_by, clip=clip)
  reads_reward = learned_advantage is not True
  return Objective(init_net, policy, adaptation, outer_loss, reads_reward, act_with_gaussian(policy))


@passes_arguments_to(objective)
def norml(
  problem: Problem,
  *,
  learning_rate: float = 6e-3,
  epochs: int = 1,
  decay_steps: int | None = None,
  optimizer: MakeOptimizer = optax.adam,
  **arguments: Any,
) -> Algorithm:
  """NoRML, and what it is compared with.

  Its data are trajectories; without a learned advantage adaptation reads their rewards, with one it cannot.

  Args:
    problem: Sizes; discount of the returns that advantages are taken from.
    learning_rate: For everything that is learned.
    epochs: Steps on the episodes of one update.
    decay_steps: Updates over which the learning rate falls to zero on a line; None keeps it.
    optimizer: Makes the optimiser from its learning rate.
    **arguments: Those of `objective`:
      learned_advantage, offset, learn_step_sizes: what distinguishes the arms; step_size, initial value of all step
      sizes, which stay at it unless they are learned, one for each parameter (Meta-SGD); first_order, without a learned
      advantage alone; initial_log_std; normalise_advantages, whether the outer advantages of each task are
      standardised; whiten_values, whether returns are standardised before values are fitted; clip;
      hidden_sizes, activation of the policy and advantage_hidden_sizes, advantage_activation of A_psi: 'tanh',
      'relu' or 'identity'.

  Raises:
    TypeError: for an unknown argument. ValueError: for one outside its range, or first order with a learned advantage.
  """
  check_counts(epochs=epochs)
  check_learning_rates(decay_steps, learning_rate=learning_rate)
  parts = objective(problem, **arguments)
  algorithm = meta_learner(
    init_net=parts.init_net,
    adaptation=parts.adaptation,
    outer_loss=parts.outer_loss,
    optimizer=optimizer(linear_decay(learning_rate, decay_steps and decay_steps * epochs)),
    act=parts.act,
  )
  algorithm = algorithm._replace(reads_reward=parts.reads_reward)
  return with_epochs(algorithm, parts.policy, parts.adaptation, epochs)
