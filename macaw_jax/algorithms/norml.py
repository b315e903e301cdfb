"""NoRML: meta-learning to adapt to changed dynamics, sensors and actuators without rewards.

Yang et al. 2019, "NoRML: No-Reward Meta Learning", algorithms 1 and 2, and the authors' released code.

Adaptation, on episodes D of the policy theta:
  L_in(theta) = -mean over D of A_psi(s, a, s') log pi_theta(a | s)
  theta'      = theta + offset - step sizes * grad L_in(theta)
Meta-training, on episodes of theta', by rewards:
  L_out = -mean of min(rho A, clip(rho, 1 - clip, 1 + clip) A),    rho = pi_theta' / behaviour policy

theta (log standard deviation included), psi, the offset and the step sizes if they are learned minimise L_out together,
through adaptation. The policies' own dependence of D on theta is left out, as in the paper. A is the return to the end
of the episode less a value fitted to the episodes of the task.

Without a learned advantage L_in has the reward advantage in place of A_psi, in ratio form: the clipped objective at
ratio 1. That, without the offset, is MAML; with steps of size zero, domain randomisation. `configs/norml.py` has all.

The released code and the paper differ; `norml` names each difference as an argument, and `RELEASED` is the set that
repeats the released code.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
import optax

from macaw_jax.adaptation.policy_gradient_step import policy_gradient_step
from macaw_jax.hyperparameters import (
  check_counts,
  check_finite,
  check_not_negative,
  check_positive,
  check_sizes,
  require,
)
from macaw_jax.learners.gradient import MakeOptimizer, init_parts, linear_decay, meta_learner
from macaw_jax.learners.gradient_surgery import GradientSurgery
from macaw_jax.learners.policy_gradient import with_epochs
from macaw_jax.losses.feature_baseline import cubic_features
from macaw_jax.losses.policy_gradient import ratio_surrogate
from macaw_jax.losses.returns import masked_mean
from macaw_jax.networks.gaussian import GaussianPolicy, act_with_gaussian, learned_gaussian_policy
from macaw_jax.networks.learned_advantage import learned_advantage_function
from macaw_jax.objectives.episodes import OfEpisodes, advantage_over, fitted_value, policy_log_prob, policy_loss
from macaw_jax.types import (
  Algorithm,
  Array,
  Key,
  LossFn,
  Metrics,
  Network,
  Params,
  Problem,
  TaskBatch,
  TrainState,
  Trajectory,
)

# The parts that the loss trains. The inner loss reaches the offset not at all, and trains nothing by itself.
TRAINS = {"outer_loss": ("policy", "advantage", "offset", "step_size")}

# The released code, and the values of its configuration file for the point agent; docs/algorithms/norml.md has those
# for other bodies. Its learning rate falls to zero over the whole run, which `decay_steps` says.
RELEASED: dict[str, Any] = {
  "learned_advantage": True,
  "offset": True,
  "offset_in_each_step": True,
  "step_size": 10.0,
  "learn_step_sizes": False,
  "first_order": False,
  "initial_log_std": -0.75,
  "normalise_advantages": False,
  "normalise_last_task": True,
  "whiten_values": False,
  "clip": 0.2,
  "hidden_sizes": (50, 50),
  "activation": "tanh",
  "advantage_hidden_sizes": (50, 50),
  "advantage_activation": "tanh",
  "learning_rate": 6e-3,
  "epochs": 1,
}


def advantage_weighted_likelihood(
  policy: GaussianPolicy, advantage: Network, of_rewards: OfEpisodes, *, learned_advantage: bool | Array
) -> LossFn:
  """-mean over valid steps of A_psi log pi (equation 4), or of A exp(log pi - sg log pi) with the advantage of rewards.

  The second has the gradient of -mean A log pi and another Hessian. Only with the first may rewards be missing; where
  `learned_advantage` is traced, both are computed and one is chosen.
  """

  def loss(params: dict[str, Params], episodes: Trajectory, key: Key) -> tuple[Array, Metrics]:
    now = policy_log_prob(policy, params, episodes)

    def learned() -> Array:
      return advantage.apply(params["advantage"], episodes.observation, episodes.action, episodes.next_observation)

    if learned_advantage is True:
      terms = learned() * now
    elif learned_advantage is False:
      terms = ratio_surrogate(now, of_rewards(episodes), episodes.mask)
    else:
      # Factor by factor: a reward that is not finite must not reach the gradient of the choice.
      ratio = ratio_surrogate(now, jnp.ones_like(now), episodes.mask)
      terms = jnp.where(learned_advantage, learned(), of_rewards(episodes)) * jnp.where(learned_advantage, now, ratio)
    return -masked_mean(terms, episodes.mask), {}

  return loss


def mark_last_task(tasks: TaskBatch) -> TaskBatch:
  """The batch with `(episodes, is_last)` in place of each query; `is_last` is true for the last task alone."""
  num_tasks = tasks.task_index.shape[0]
  return tasks._replace(query=(tasks.query, jnp.arange(num_tasks) == num_tasks - 1))


def norml(
  problem: Problem,
  *,
  learned_advantage: bool = True,
  offset: bool = True,
  offset_in_each_step: bool = False,
  step_size: float = 10.0,
  learn_step_sizes: bool = False,
  first_order: bool = False,
  initial_log_std: float = -0.75,
  normalise_advantages: bool = True,
  normalise_last_task: bool = False,
  whiten_values: bool = False,
  clip: float = 0.2,
  hidden_sizes: Sequence[int] = (50, 50),
  activation: str = "tanh",
  advantage_hidden_sizes: Sequence[int] = (50, 50),
  advantage_activation: str = "tanh",
  learning_rate: float = 6e-3,
  epochs: int = 1,
  decay_steps: int | None = None,
  inner_loss: Callable[..., LossFn] = advantage_weighted_likelihood,
  outer_loss: Callable[..., LossFn] = policy_loss,
  optimizer: MakeOptimizer = optax.adam,
  gradient_surgery: GradientSurgery | None = None,
) -> Algorithm:
  """NoRML, and the methods that it is compared with.

  Its data are trajectories; without a learned advantage adaptation reads their rewards, with one it cannot.

  Args:
    problem: Sizes; discount of the returns that advantages are taken from.
    learned_advantage: Whether adaptation reads A_psi in place of rewards.
    offset: Whether the offset is added and learned.
    offset_in_each_step: Whether, of several adaptation steps, each adds it, as in the released code; else the first.
    step_size: Initial value of all step sizes, which stay at it unless they are learned.
    learn_step_sizes: Whether step sizes are learned, one for each parameter (Meta-SGD).
    first_order: Whether meta-gradients ignore how inner gradients depend on the parameters; without a learned advantage
      alone.
    initial_log_std: Initial log standard deviation of the policy.
    normalise_advantages: Whether the outer advantages of each task are standardised.
    normalise_last_task: Whether those of the last task of a batch are in any case: of it alone in the released code.
    whiten_values: Whether returns are standardised before values are fitted.
    clip: Bound on how far the outer ratio counts from one.
    hidden_sizes: Hidden layers of the policy.
    activation: 'tanh', 'relu' or 'identity', in the policy.
    advantage_hidden_sizes: Hidden layers of A_psi.
    advantage_activation: Likewise, in A_psi.
    learning_rate: For everything that is learned.
    epochs: Steps on the episodes of one update.
    decay_steps: Updates over which the learning rate falls to zero on a line; None keeps it.
    inner_loss: `(policy, advantage network, advantage of rewards, learned_advantage=) -> loss` of adaptation.
    outer_loss: `(policy, advantage, clip=) -> loss` of the adapted policy.
    optimizer: Makes the optimiser from its learning rate.
    gradient_surgery: How the gradients of tasks become one (`learners.gradient_surgery`); None for the mean's.

  Raises:
    ValueError: for a setting outside its range, or first order with a learned advantage.
  """
  check_counts(epochs=epochs, decay_steps=decay_steps)
  check_sizes(hidden_sizes=hidden_sizes, advantage_hidden_sizes=advantage_hidden_sizes)
  check_not_negative(learning_rate=learning_rate, step_size=step_size)
  check_positive(clip=clip)
  check_finite(initial_log_std=initial_log_std)
  require(
    (first_order & learned_advantage) == 0,
    "first_order=True with learned_advantage=True: a learned advantage learns through second order alone",
  )
  sizes = (problem.observation_size, problem.action_size)
  policy = learned_gaussian_policy(*sizes, hidden_sizes, activation=activation, initial_log_std=initial_log_std)
  advantage = learned_advantage_function(*sizes, advantage_hidden_sizes, activation=advantage_activation)
  value = fitted_value(cubic_features, discount=problem.discount, whiten=whiten_values)
  of_rewards = advantage_over(value, discount=problem.discount)

  def judge(params: dict[str, Params], query: tuple[Trajectory, Array], key: Key) -> tuple[Array, Metrics]:
    episodes, is_last = query
    normalise = jnp.logical_or(normalise_advantages, jnp.logical_and(normalise_last_task, is_last))
    judged_by = advantage_over(value, discount=problem.discount, normalise=normalise)
    return outer_loss(policy, judged_by, clip=clip)(params, episodes, key)

  adaptation = policy_gradient_step(
    inner_loss(policy, advantage, of_rewards, learned_advantage=learned_advantage),
    step_size=step_size,
    learn_step_sizes=learn_step_sizes,
    offset=offset,
    offset_in_each_step=offset_in_each_step,
    first_order=first_order,
  )
  learner = meta_learner(
    init_net=init_parts({"policy": policy.init, "advantage": advantage.init}),
    adaptation=adaptation,
    outer_loss=judge,
    optimizer=optimizer(linear_decay(learning_rate, decay_steps and decay_steps * epochs)),
    act=act_with_gaussian(policy),
    gradient_surgery=gradient_surgery,
  )

  def update(state: TrainState, tasks: TaskBatch, key: Key) -> tuple[TrainState, Metrics]:
    return learner.update(state, mark_last_task(tasks), key)

  algorithm = learner._replace(update=update, reads_reward=learned_advantage is not True)
  return with_epochs(algorithm, policy, adaptation, epochs)
