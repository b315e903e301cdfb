"""Multi-task behaviour cloning with fine-tuning: imitation of all training tasks, then of a new one.

Training, on each task's query:   pi minimises L_BC(pi) = mean(-log pi(a | s)), the task in the observation
A new task, on its support:       n optimiser steps on L_BC(pi)
"""

from collections.abc import Callable, Sequence

import optax

from macaw_jax.algorithms.multitask import multitask_learner, observation_size
from macaw_jax.hyperparameters import check_sizes
from macaw_jax.learners.gradient import MakeOptimizer
from macaw_jax.learners.gradient_surgery import GradientSurgery
from macaw_jax.networks.policy import Policy, act_with, gaussian_policy
from macaw_jax.objectives import behaviour_cloning
from macaw_jax.types import Algorithm, LossFn, Problem


def multitask_bc(
  problem: Problem,
  *,
  hidden_sizes: Sequence[int] = (100, 100, 100),
  layer: str = "bias_transform",
  standard_deviation: float = 0.2,
  task_dropout: float = 0.0,
  policy_learning_rate: float = 3e-4,
  decay_steps: int | None = None,
  adaptation_steps: int = 20,
  fine_tune_policy_learning_rate: float = 1e-3,
  policy_loss: Callable[[Policy], LossFn] = behaviour_cloning,
  optimizer: MakeOptimizer = optax.adam,
  gradient_surgery: GradientSurgery | None = None,
) -> Algorithm:
  """Multi-task behaviour cloning with fine-tuning.

  Args:
    problem: Sizes of the data.
    hidden_sizes: Hidden layers of the policy.
    layer: 'bias_transform' as released, 'dense' or 'weight_transform'.
    standard_deviation: Standard deviation of the policy.
    task_dropout: Probability that a training task hides its task vector, so that the zeros of a new task are known.
    policy_learning_rate: In training.
    decay_steps: Updates over which the learning rate of training falls to zero; None keeps it.
    adaptation_steps: Steps on a new task.
    fine_tune_policy_learning_rate: On a new task.
    policy_loss: `(policy) -> loss`.
    optimizer: Makes an optimiser from a learning rate.
    gradient_surgery: How the gradients of tasks become one (`learners.gradient_surgery`); None for the mean's.

  Raises:
    ValueError: for a setting outside its range.
  """
  check_sizes(hidden_sizes=hidden_sizes)
  policy = gaussian_policy(
    observation_size(problem), problem.action_size, hidden_sizes, layer=layer, standard_deviation=standard_deviation
  )
  return multitask_learner(
    problem,
    init={"policy": policy.init},
    losses={"policy": policy_loss(policy)},
    act=act_with(policy),
    learning_rates={"policy": policy_learning_rate},
    fine_tune_learning_rates={"policy": fine_tune_policy_learning_rate},
    decay_steps=decay_steps,
    adaptation_steps=adaptation_steps,
    task_dropout=task_dropout,
    optimizer=optimizer,
    gradient_surgery=gradient_surgery,
  )
