"""One gradient from those of several tasks: gradient surgery as a value, which a learner takes as an argument.

Yu et al. 2020, "Gradient Surgery for Multi-Task Learning" (arXiv:2001.06782). Two tasks conflict where the inner
product of their gradients is negative: a step along the mean then undoes in one what it does in the other.

All is computed from the Gram matrix of the gradients: what becomes of a gradient is a combination of all gradients, and
its coefficients are T numbers in place of as many as there are parameters.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp

from macaw_jax.hyperparameters import check_choice
from macaw_jax.types import Array, Key, Metrics, Params

ORDERS = ("random", "fixed")


class GradientSurgery(NamedTuple):
  """How the gradients of tasks become one.

  combine: `(gradients, key) -> (gradient, metrics)`; leaves `[T, ...]` become `[...]`. All leaves together are one
           vector for each task: pass those parameters alone that the tasks share.
  """

  combine: Callable[[Params, Key], tuple[Params, Metrics]]


def mean_gradient() -> GradientSurgery:
  """The mean over tasks, whatever conflicts there are: the plain gradient, beside the metrics of `conflicts`."""

  def combine(gradients: Params, key: Key) -> tuple[Params, Metrics]:
    del key
    return _mean(gradients), conflicts(gram_matrix(gradients))

  return GradientSurgery(combine)


def pcgrad(*, order: str = "random") -> GradientSurgery:
  """PCGrad: mean over tasks i of v_i, which is g_i without what conflicts with the gradients of other tasks.

  Beginning with v_i = g_i, for each other task j in its turn (algorithm 1 of Yu et al. 2020),

    v_i <- v_i - (v_i . g_j / ||g_j||^2) g_j   where v_i . g_j < 0

  with the gradient g_j as it was. The paper adds the v_i; their mean is that of the mean loss, and equals
  `mean_gradient` bit for bit where no two tasks conflict. One task keeps its gradient.

  Args:
    order: In which j takes its turn: 'random', anew for every i at every call; or 'fixed', by its place in the batch.

  Raises:
    ValueError: for another order.
  """
  check_choice(ORDERS, order=order)

  def combine(gradients: Params, key: Key) -> tuple[Params, Metrics]:
    gram = gram_matrix(gradients)
    num_tasks = gram.shape[0]
    orders = jnp.tile(jnp.arange(num_tasks), (num_tasks, 1))
    if order == "random":
      orders = jax.vmap(jax.random.permutation)(jax.random.split(key, num_tasks), orders)
    # Beside the mean stands what projections change of it, which is exactly zero where there are none.
    change = jnp.mean(projections(gram, orders) - jnp.eye(num_tasks, dtype=gram.dtype), axis=0)  # [T]
    combined = jax.tree.map(lambda mean, leaf: mean + _weighted(change, leaf), _mean(gradients), gradients)
    return combined, conflicts(gram)

  return GradientSurgery(combine)


def combined_over_tasks(
  surgery: GradientSurgery,
  gradient_of: Callable[[Any, Key], tuple[Params, Metrics]],
  batch: Any,
  keys: Key,
  key: Key,
  *,
  task_axis: int = 0,
) -> tuple[Params, Metrics, Metrics]:
  """The gradients of each task of a batch alone, as one.

  Args:
    surgery: combines them.
    gradient_of: `(batch, key) -> (gradient, metrics)` of a batch of any number of tasks.
    batch: leaves have the tasks along `task_axis`.
    keys: `[T]`, of each task's gradient.
    key: of the surgery.
    task_axis: of the tasks.

  Returns:
    The gradient; means over tasks of its metrics; the metrics of the surgery.
  """
  # A batch of one task for each task.
  alone = jax.tree.map(lambda leaf: jnp.expand_dims(jnp.moveaxis(leaf, task_axis, 0), 1 + task_axis), batch)
  gradients, metrics = jax.vmap(gradient_of)(alone, keys)
  gradient, found = surgery.combine(gradients, key)
  return gradient, jax.tree.map(jnp.mean, metrics), found


GRADIENT_SURGERIES: Mapping[str, Callable[[], GradientSurgery]] = {"pcgrad": pcgrad, "mean": mean_gradient}
"""By the names that configurations have for them."""


def projections(gram: Array, orders: Array) -> Array:
  """The coefficients of each v_i of PCGrad: `c [T, T]` with v_i = sum_k c_ik g_k.

  Args:
    gram: `[T, T]`, all inner products g_i . g_j.
    orders: `[T, T]`, for each i the tasks j in their turn; i itself, wherever it is, is passed over.
  """
  num_tasks = gram.shape[0]
  chex.assert_shape([gram, orders], (num_tasks, num_tasks))
  squares = jnp.diagonal(gram)
  safe = jnp.where(squares > 0, squares, 1.0)  # A gradient of zero conflicts with none.

  def project(task: Array, order: Array) -> Array:
    def turn(coefficients: Array, other: Array) -> tuple[Array, None]:
      product = coefficients @ gram[:, other]  # v_i . g_j
      conflicting = (product < 0) & (other != task)
      return coefficients.at[other].add(jnp.where(conflicting, -product / safe[other], 0.0)), None

    return jax.lax.scan(turn, jax.nn.one_hot(task, num_tasks, dtype=gram.dtype), order)[0]

  return jax.vmap(project)(jnp.arange(num_tasks), orders)


def gram_matrix(gradients: Params) -> Array:
  """All inner products of the tasks' gradients, `[T, T]`, over all leaves `[T, ...]` together."""
  leaves = jax.tree.leaves(gradients)
  chex.assert_equal_shape_prefix(leaves, 1)
  rows = [leaf.reshape(leaf.shape[0], -1) for leaf in leaves]
  products = [jnp.matmul(each, each.T, precision=jax.lax.Precision.HIGHEST) for each in rows]
  return jnp.sum(jnp.stack(products), axis=0)


def conflicts(gram: Array) -> Metrics:
  """`conflict_rate`, the share of pairs of tasks whose inner product is negative, and `gradient_cosine`, their mean.

  Over all ordered pairs of distinct tasks of `gram [T, T]`; both are zero of one task. The cosine with a gradient of
  zero counts as zero.
  """
  num_tasks = gram.shape[0]
  norms = jnp.sqrt(jnp.diagonal(gram))
  lengths = norms[:, None] * norms[None]
  cosines = jnp.where(lengths > 0, gram / jnp.where(lengths > 0, lengths, 1.0), 0.0)
  distinct = ~jnp.eye(num_tasks, dtype=bool)
  num_pairs = max(num_tasks * (num_tasks - 1), 1)
  return {
    "conflict_rate": jnp.sum(distinct & (gram < 0)) / num_pairs,
    "gradient_cosine": jnp.sum(jnp.where(distinct, cosines, 0.0)) / num_pairs,
  }


def _mean(gradients: Params) -> Params:
  return jax.tree.map(lambda leaf: jnp.mean(leaf, axis=0), gradients)


def _weighted(weights: Array, leaf: Array) -> Array:
  """sum_k weights_k leaf_k."""
  return jnp.tensordot(weights, leaf, axes=1, precision=jax.lax.Precision.HIGHEST)
