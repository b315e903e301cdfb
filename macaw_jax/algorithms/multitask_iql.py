"""Multi-task implicit Q-learning: one policy for many known tasks from recorded data.

Kostrikov et al. 2022, "Offline Reinforcement Learning with Implicit Q-Learning" (arXiv:2110.06169), on the observation
with the task's numbers behind it, as `macaw_jax.algorithms.multitask_sac`: the counterpart that keeps to the data.

Training:    critics, value and policy minimise the losses of `macaw_jax.actor_critics.iql` at (s, w)
A new task:  the same policy at the new task's w. Nothing is adapted, and its data are not read
"""

import optax

from macaw_jax.actor_critics import MakeActorCritic, iql
from macaw_jax.algorithms.task_conditioned import task_conditioned
from macaw_jax.learners.gradient import MakeOptimizer
from macaw_jax.learners.gradient_surgery import GradientSurgery
from macaw_jax.types import Algorithm, Problem


def multitask_iql(
  problem: Problem,
  *,
  actor_critic: MakeActorCritic = iql(),
  learning_rate: float = 1e-3,
  decay_steps: int | None = None,
  optimizer: MakeOptimizer = optax.adam,
  gradient_surgery: GradientSurgery | None = None,
) -> Algorithm:
  """Multi-task IQL; arguments as of `task_conditioned`."""
  return task_conditioned(
    problem,
    actor_critic,
    learning_rate=learning_rate,
    decay_steps=decay_steps,
    optimizer=optimizer,
    gradient_surgery=gradient_surgery,
  )
