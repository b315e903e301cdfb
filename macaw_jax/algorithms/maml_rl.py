"""MAML for reinforcement learning: initial parameters from which a few policy-gradient steps lead to a good policy.

Finn et al. 2017 (MAML); Li et al. 2017 (Meta-SGD); Stadie et al. 2018 (E-MAML); Farquhar et al. 2019 (Loaded DiCE);
Rothfuss et al. 2019 (ProMP).

Adaptation, K times, each on episodes D_k of the policy before the step, by rewards:
  theta_{k+1} = theta_k - step sizes * grad L_in(theta_k; D_k),    L_in of `macaw_jax.losses.policy_gradient`
Meta-training, on episodes of theta_K:
  L_out = -mean of min(rho A, clip(rho, 1 - clip, 1 + clip) A) or of rho A,    rho = pi_thetaK / behaviour
          + kl_weight mean_k KL(behaviour_k || pi_theta_k) + the loss of `sampling_credit`

theta, and the step sizes if they are learned, descend L_out through all steps. Advantages are those of
`generalised_advantage` over a value fitted to the episodes of each task and step, standardised.

Two objectives must not be mixed. With `log_prob`, the inner data depend on theta, and `sampling_credit` adds what plain
MAML drops of the gradient: credit for the choice of D_0 by how well the adapted policy did. As in E-MAML's released
code, both are standardised, each in its own way, and so their sum is not the gradient of one objective. The other
surrogates differentiate an expected inner gradient; there is nothing to add.
"""

import math
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from macaw_jax.adaptation.policy_gradient_step import policy_gradient_step
from macaw_jax.algorithms.arguments import (
  check_counts,
  check_hidden_sizes,
  check_learning_rates,
  check_shares,
  passes_arguments_to,
)
from macaw_jax.hyperparameters import require
from macaw_jax.learners.gradient import (
  MakeOptimizer,
  MetaLoss,
  gradient_of,
  init_parts,
  learner,
  linear_decay,
  meta_loss,
)
from macaw_jax.learners.policy_gradient import divergence_from_behaviour, with_epochs
from macaw_jax.losses.feature_baseline import quadratic_features
from macaw_jax.losses.policy_gradient import sampling_credit as sampling_credit_loss
from macaw_jax.losses.policy_gradient_steps import (
  OfEpisodes,
  advantage_over,
  fitted_value,
  policy_log_prob,
  policy_loss,
  reward_of,
  surrogate_loss,
)
from macaw_jax.losses.returns import normalise_advantage
from macaw_jax.networks.gaussian import GaussianPolicy, act_with_gaussian, learned_gaussian_policy
from macaw_jax.types import Adaptation, Algorithm, Array, Key, MetaParams, Metrics, Problem, TaskBatch, Trajectory

# Which loss trains what.
TRAINS = {"outer_loss": ("policy", "step_size")}


class Inner(NamedTuple):
  """A policy, and how episodes change it by their rewards."""

  surrogate: str
  policy: GaussianPolicy
  advantage: OfEpisodes
  adaptation: Adaptation


def inner(
  problem: Problem,
  *,
  surrogate: str = "log_prob",
  loaded_lambda: float = 1.0,
  step_size: float = 0.1,
  learn_step_sizes: bool = False,
  first_order: bool = False,
  lambda_: float = 1.0,
  initial_log_std: float = -1.2,
  hidden_sizes: Sequence[int] = (64, 64),
  activation: str = "tanh",
) -> Inner:
  """The inner steps of `maml_rl` and of Reptile; see `maml_rl` for the arguments."""
  check_hidden_sizes(hidden_sizes=hidden_sizes)
  check_shares(lambda_=lambda_, loaded_lambda=loaded_lambda)
  require(step_size >= 0, f"step_size={step_size} must not be negative")
  require(abs(initial_log_std) < math.inf, f"initial_log_std={initial_log_std} must be finite")
  policy = learned_gaussian_policy(
    problem.observation_size,
    problem.action_size,
    hidden_sizes,
    activation=activation,
    initial_log_std=initial_log_std,
    shared_log_std=False,
  )
  value = fitted_value(quadratic_features, discount=problem.discount)
  advantage = advantage_over(value, discount=problem.discount, lambda_=lambda_, normalise=True)
  loss = surrogate_loss(
    policy, surrogate, advantage=advantage, value=value, discount=problem.discount, loaded_lambda=loaded_lambda
  )
  adaptation = policy_gradient_step(
    loss, step_size=step_size, learn_step_sizes=learn_step_sizes, first_order=first_order
  )
  return Inner(surrogate, policy, advantage, adaptation)


def objective(
  problem: Problem,
  *,
  clip: float | None = 0.5,
  kl_weight: float = 0.0,
  sampling_credit: bool = False,
  epochs: int = 1,
  **arguments: Any,
) -> tuple[Inner, MetaLoss]:
  """The parts of MAML-RL, and its loss of a batch of tasks; see `maml_rl` for the arguments."""
  require(
    (sampling_credit == 0) | (epochs == 1),
    f"sampling_credit=True with epochs={epochs}: the credit is for data of the policy as it was before the first",
  )
  require(kl_weight >= 0, f"kl_weight={kl_weight} must not be negative")
  if clip is not None:
    require(clip > 0, f"clip={clip} must be positive")
  parts = inner(problem, **arguments)
  require(
    (sampling_credit == 0) | (parts.surrogate == "log_prob"),
    f"sampling_credit=True with surrogate={parts.surrogate!r}: it would credit the choice of data twice",
  )
  policy, adaptation = parts.policy, parts.adaptation
  of_query = meta_loss(adaptation, policy_loss(policy, parts.advantage, clip=clip))

  def loss(params: MetaParams, tasks: TaskBatch, key: Key) -> tuple[Array, Metrics]:
    key_query, key_divergence = jax.random.split(key)
    value, metrics = of_query(params, tasks, key_query)
    if tasks.support.behaviour is not None:  # Else the policy is the one that acted, and the divergence zero.
      keys = jax.random.split(key_divergence, tasks.task_index.shape[0])
      divergence = partial(divergence_from_behaviour, policy, adaptation, params)
      metrics["divergence"] = jnp.mean(jax.vmap(divergence)(tasks.support, keys))
      value += kl_weight * metrics["divergence"]
    if sampling_credit is not False:
      value += jnp.where(sampling_credit, credit_of_sampling(policy, params, tasks), 0.0)
    return value, metrics

  return parts, loss


def credit_of_sampling(policy: GaussianPolicy, params: MetaParams, tasks: TaskBatch) -> Array:
  """`sampling_credit` of the first inner step's episodes, by returns standardised over tasks, for one step of them.

  So that it depends neither on the size of rewards nor on the length of episodes, as the loss that it is added to.
  """
  first: Trajectory = jax.tree.map(lambda leaf: leaf[:, 0], tasks.support)
  now = policy_log_prob(policy, params.net, first)  # [T, E, H]
  post_return = jnp.mean(jnp.sum(reward_of(tasks.query), axis=-1), axis=-1)  # [T]
  size = jnp.sqrt(jnp.mean(jnp.square(post_return)))
  standardised = normalise_advantage(post_return, jnp.ones_like(post_return), size)
  steps_of_episode = jnp.mean(jnp.sum(first.mask, axis=-1))
  return sampling_credit_loss(now, first.mask, standardised) / steps_of_episode


@passes_arguments_to(objective, inner, but=("epochs",))
def maml_rl(
  problem: Problem,
  *,
  learning_rate: float = 1e-3,
  epochs: int = 1,
  decay_steps: int | None = None,
  optimizer: MakeOptimizer = optax.adam,
  **arguments: Any,
) -> Algorithm:
  """MAML-RL and what is made of it by its arguments; those of ProMP and E-MAML are arms of `configs/maml_rl.py`.

  Its data are trajectories with rewards.

  Args:
    problem: Sizes; discount of returns and advantages.
    learning_rate: For everything that is learned.
    epochs: Steps on the episodes of one update, each with the inner steps taken anew.
    decay_steps: Updates over which the learning rate falls to zero on a line; None keeps it.
    optimizer: Makes the optimiser from its learning rate.
    **arguments: Those of `objective` and `inner`:
      surrogate of the inner loss: 'log_prob', 'ratio', 'dice' or 'loaded_dice' with loaded_lambda; step_size, initial
      value of all step sizes, one for each parameter (Meta-SGD) if learn_step_sizes; first_order; lambda_ of
      advantages; initial_log_std, one for each component of an action; hidden_sizes, activation: 'tanh', 'relu' or
      'identity';
      clip of the outer ratio, None for the plain ratio; kl_weight, read with more epochs than one; sampling_credit
      (E-MAML), with 'log_prob' and one epoch alone.

  Raises:
    TypeError: for an unknown argument. ValueError: for one outside its range, or two that exclude each other.
  """
  check_counts(epochs=epochs)
  check_learning_rates(decay_steps, learning_rate=learning_rate)
  parts, loss = objective(problem, epochs=epochs, **arguments)
  algorithm = learner(
    init_net=init_parts({"policy": parts.policy.init}),
    adaptation=parts.adaptation,
    meta_gradient=gradient_of(loss),
    optimizer=optimizer(linear_decay(learning_rate, decay_steps and decay_steps * epochs)),
    act=act_with_gaussian(parts.policy),
  )
  return with_epochs(algorithm, parts.policy, parts.adaptation, epochs)
