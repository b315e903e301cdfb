"""Multi-task soft actor-critic: one policy for many known tasks, told the task by its observations.

Yu et al. 2020, "Meta-World" (arXiv:1910.10897), section 5, with a temperature of each task. With w the task's numbers
at the end of an observation and i the task of a row:

Training:    critics, policy and temperatures minimise the losses of `macaw_jax.actor_critics.tempered_sac` at (s, w);
             every task of a batch has as many rows
A new task:  the same policy at the new task's w. Nothing is adapted, and its data are not read

It learns from a replay buffer that it fills itself, by `sources.replay`, or from recorded data, by `sources.recorded`.
"""

import optax

from macaw_jax.actor_critics import MakeActorCritic, tempered_sac
from macaw_jax.algorithms.task_conditioned import task_conditioned
from macaw_jax.learners.gradient import MakeOptimizer
from macaw_jax.learners.gradient_surgery import GradientSurgery
from macaw_jax.types import Algorithm, Problem


def multitask_sac(
  problem: Problem,
  *,
  actor_critic: MakeActorCritic = tempered_sac(),
  learning_rate: float = 3e-4,
  decay_steps: int | None = None,
  optimizer: MakeOptimizer = optax.adam,
  gradient_surgery: GradientSurgery | None = None,
) -> Algorithm:
  """Multi-task SAC; arguments as of `task_conditioned`."""
  return task_conditioned(
    problem,
    actor_critic,
    learning_rate=learning_rate,
    decay_steps=decay_steps,
    optimizer=optimizer,
    gradient_surgery=gradient_surgery,
  )
