"""Multi-task behaviour cloning with fine-tuning: imitation of all training tasks, then of a new one.

Training, on each task's query:   pi descends L_BC(pi) = mean(-log pi(a | s)), the task in the observation
A new task, on its support:       n optimiser steps on L_BC(pi)
"""

from collections.abc import Sequence

import optax

from macaw_jax.algorithms.arguments import check_hidden_sizes, check_learning_rates
from macaw_jax.algorithms.multitask import multitask_learner, observation_size
from macaw_jax.learners.gradient import MakeOptimizer
from macaw_jax.losses import behaviour_cloning
from macaw_jax.networks.policy import act_with, gaussian_policy
from macaw_jax.types import Algorithm, Problem


def multitask_bc(
  problem: Problem,
  *,
  hidden_sizes: Sequence[int] = (100, 100, 100),
  layer: str = "bias_transform",
  standard_deviation: float = 0.2,
  task_dropout: float = 0.0,
  policy_learning_rate: float = 3e-4,
  decay_steps: int | None = None,
  fine_tune_steps: int = 20,
  fine_tune_policy_learning_rate: float = 1e-3,
  optimizer: MakeOptimizer = optax.adam,
) -> Algorithm:
  """Multi-task behaviour cloning with fine-tuning. The arguments are those of `multitask_awr` that concern a policy.

  Raises:
    ValueError: for an argument outside its range.
  """
  check_hidden_sizes(hidden_sizes=hidden_sizes)
  check_learning_rates(
    decay_steps,
    policy_learning_rate=policy_learning_rate,
    fine_tune_policy_learning_rate=fine_tune_policy_learning_rate,
  )
  policy = gaussian_policy(
    observation_size(problem), problem.action_size, hidden_sizes, layer=layer, standard_deviation=standard_deviation
  )
  return multitask_learner(
    problem,
    init={"policy": policy.init},
    losses={"policy": behaviour_cloning(policy)},
    act=act_with(policy),
    learning_rates={"policy": policy_learning_rate},
    fine_tune_learning_rates={"policy": fine_tune_policy_learning_rate},
    decay_steps=decay_steps,
    fine_tune_steps=fine_tune_steps,
    task_dropout=task_dropout,
    optimizer=optimizer,
  )
