"""Reptile for reinforcement learning: move towards where inner steps lead, without differentiating through them.

Nichol et al. 2018, "On First-Order Meta-Learning Algorithms", algorithm 1. With theta_{i,K} the policy of task i after
its K inner steps, each on episodes of its own, an update descends the pseudo-gradient

  theta - mean_i theta_{i,K}

by SGD of learning rate beta: theta <- theta + beta mean_i (theta_{i,K} - theta). There is no outer loss. With K = 1
this is joint training on all tasks, and no meta-learning.
"""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from macaw_jax.algorithms.arguments import check_learning_rates, passes_arguments_to
from macaw_jax.algorithms.maml_rl import inner
from macaw_jax.learners.gradient import MakeOptimizer, init_parts, learner, linear_decay
from macaw_jax.networks.gaussian import act_with_gaussian
from macaw_jax.types import Algorithm, Key, MetaParams, Metrics, Params, Problem, TaskBatch, Trajectory


@passes_arguments_to(inner, but=("learn_step_sizes", "first_order"))
def reptile(
  problem: Problem,
  *,
  learning_rate: float = 1.0,
  decay_steps: int | None = None,
  optimizer: MakeOptimizer = optax.sgd,
  **arguments: Any,
) -> Algorithm:
  """Reptile.

  Its data are trajectories with rewards. A query is not read: what `training.on_policy` collects for it only tells how
  the adapted policy does.

  Args:
    problem: Sizes; discount of returns and advantages.
    learning_rate: beta; how much of the way to the mean adapted policy an update goes.
    decay_steps: Updates over which the learning rate falls to zero on a line; None keeps it.
    optimizer: Makes the optimiser from its learning rate.
    **arguments: Those of the inner steps, as of `maml_rl`; nothing differentiates through them, and step sizes stay.

  Raises:
    TypeError: for an unknown argument. ValueError: for one outside its range.
  """
  check_learning_rates(decay_steps, learning_rate=learning_rate)
  parts = inner(problem, **arguments)

  def pseudo_gradient(params: MetaParams, tasks: TaskBatch, key: Key) -> tuple[MetaParams, Metrics]:
    def adapted(support: Trajectory, key: Key) -> tuple[dict[str, Params], Metrics]:
      return parts.adaptation.apply(params.net, params.rule, support, key)

    changes, metrics = jax.vmap(adapted)(tasks.support, jax.random.split(key, tasks.task_index.shape[0]))
    difference = jax.tree.map(lambda now, then: now - jnp.mean(then, axis=0), params.net, changes)
    return MetaParams(difference, jax.tree.map(jnp.zeros_like, params.rule)), jax.tree.map(jnp.mean, metrics)

  return learner(
    init_net=init_parts({"policy": parts.policy.init}),
    adaptation=parts.adaptation,
    meta_gradient=pseudo_gradient,
    optimizer=optimizer(linear_decay(learning_rate, decay_steps)),
    act=act_with_gaussian(parts.policy),
  )
