"""Multi-task PPO: one network for all tasks, which reads the task off the observation.

Schulman et al. 2017 (arXiv:1707.06347) in the Markov decision process whose state holds the task: what agents with a
policy for each task are compared with. Each task judges its own episodes, so that a task of large rewards does not
drown the others; the loss is the mean over tasks.
"""

from collections.abc import Sequence

import jax.numpy as jnp
import optax

from macaw_jax.adaptation.memory import episodes_of
from macaw_jax.algorithms.task_policies import task_ppo
from macaw_jax.hyperparameters import check_not_negative
from macaw_jax.learners.context import Net
from macaw_jax.learners.gradient import MakeOptimizer, init_parts
from macaw_jax.learners.gradient_surgery import GradientSurgery
from macaw_jax.learners.trials import check_settings, clipped, trial_learner
from macaw_jax.networks.stochastic_policy import stochastic_policy
from macaw_jax.objectives.ppo import RETURNS, Judged, follow_returns, initial_returns, value_network
from macaw_jax.types import Algorithm, Array, Key, Metrics, Problem, TimeStep

# The parts that the loss trains.
TRAINS = {"ppo_loss": ("policy", "value")}


def multitask_ppo(
  problem: Problem,
  *,
  hidden_sizes: Sequence[int] = (64,),
  lambda_: float = 0.95,
  clip: float = 0.2,
  entropy_weight: float = 0.05,
  value_weight: float = 0.5,
  initial_log_std: float = -0.5,
  learning_rate: float = 1e-3,
  max_gradient_norm: float = 0.5,
  epochs: int = 2,
  minibatches: int = 8,
  decay_steps: int | None = None,
  optimizer: MakeOptimizer = optax.adam,
  gradient_surgery: GradientSurgery | None = None,
) -> Algorithm:
  """PPO with one policy and one value for all tasks; its data are trajectories.

  Args:
    problem: Sizes, the discount, and whether actions are a choice. What the observation does not show of its task, the
      agent does not know.
    hidden_sizes: Hidden layers of policy and value.
    lambda_: Lambda of the generalised advantages.
    clip: Bound on how far the ratio to the behaviour policy counts from one.
    entropy_weight: Weight of the policy's entropy at the start; it falls to zero with the learning rate.
    value_weight: Weight of the squared error of the value.
    initial_log_std: Initial log standard deviation of actions that are no choice.
    learning_rate: Of everything.
    max_gradient_norm: Bound on the norm of the gradient.
    epochs: Passes over the episodes of an update.
    minibatches: Steps of a pass, each on episodes of all tasks of the update.
    decay_steps: Updates over which learning rate and entropy weight fall to zero on a line; None keeps them.
    optimizer: Makes the optimiser from its learning rate.
    gradient_surgery: How the gradients of the tasks of a step become one; None for that of their mean.

  Raises:
    ValueError: for a setting outside its range.
  """
  check_settings(
    hidden_sizes=hidden_sizes,
    lambda_=lambda_,
    clip=clip,
    value_weight=value_weight,
    initial_log_std=initial_log_std,
    learning_rate=learning_rate,
    max_gradient_norm=max_gradient_norm,
    epochs=epochs,
    minibatches=minibatches,
    decay_steps=decay_steps,
  )
  check_not_negative(entropy_weight=entropy_weight)
  size = problem.observation_size
  policy = stochastic_policy(problem, size, hidden_sizes, initial_log_std=initial_log_std)
  value = value_network(size, hidden_sizes)
  ppo = task_ppo(
    policy,
    value,
    nets=lambda net, observation: net,
    axes=None,
    features=lambda observation: observation,
    discount=problem.discount,
    lambda_=lambda_,
    clip=clip,
    entropy_weight=entropy_weight,
    value_weight=value_weight,
  )

  def loss(net: Net, episodes: Judged, key: Key) -> tuple[Array, Metrics]:
    losses, metrics = ppo.losses(net, episodes, key)
    return jnp.mean(losses), metrics

  def act(net: Net, timestep: TimeStep, key: Key | None) -> tuple[Array, Net]:
    distribution = policy.distribution(net["policy"], timestep.observation)
    return policy.mode(distribution) if key is None else policy.sample(distribution, key), {}

  algorithm = trial_learner(
    init_net=init_parts({"policy": policy.init, "value": value.init, RETURNS: initial_returns}),
    judge_trials=ppo.judge,
    losses={"ppo_loss": loss},
    trains=TRAINS,
    follows={RETURNS: follow_returns(problem.discount)},
    optimizers={
      "ppo_loss": clipped(
        optimizer, learning_rate, max_gradient_norm, decay_steps and decay_steps * epochs * minibatches
      )
    },
    epochs=epochs,
    minibatches=minibatches,
    decay_steps=decay_steps,
    gradient_surgery=gradient_surgery,
    act=act,
    arrange=episodes_of,
    task_axis=1,
  )
  return algorithm._replace(remembers=False, adapts=False)
