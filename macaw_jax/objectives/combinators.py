"""Losses from losses: every function here takes loss functions and returns one of the same signature."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from macaw_jax.types import Array, Key, LossFn, Metrics, Params


def add(*losses: LossFn) -> LossFn:
  """The sum of `losses`, each with its own key. Raises ValueError if two of them report one metric."""

  def loss(params: dict[str, Params], batch: Any, key: Key) -> tuple[Array, Metrics]:
    total = jnp.zeros(())
    metrics: Metrics = {}
    for term, term_key in zip(losses, jax.random.split(key, len(losses)), strict=True):
      value, term_metrics = term(params, batch, term_key)
      if shared := metrics.keys() & term_metrics.keys():
        raise ValueError(f"two added losses report the same metrics: {', '.join(sorted(shared))}")
      total, metrics = total + value, metrics | term_metrics
    return total, metrics

  return loss


def scale(weight: float | Callable[[dict[str, Params]], Array], loss: LossFn) -> LossFn:
  """`weight` times `loss`. A weight that is a function is read from the params, so that it can be learned."""

  def scaled(params: dict[str, Params], batch: Any, key: Key) -> tuple[Array, Metrics]:
    value, metrics = loss(params, batch, key)
    return (weight(params) if callable(weight) else weight) * value, metrics

  return scaled


def over_tasks(
  loss: Callable[[Any, Any, Key], tuple[Array, Metrics]],
) -> Callable[[Any, Any, Key], tuple[Array, Metrics]]:
  """The mean over tasks of a loss of one task, and of its metrics: every leaf of the batch has a leading axis of tasks.

  Each task has a key of its own. The params are shared by all tasks.
  """

  def mean_loss(params: Any, batch: Any, key: Key) -> tuple[Array, Metrics]:
    num_tasks = jax.tree.leaves(batch)[0].shape[0]
    losses, metrics = jax.vmap(loss, in_axes=(None, 0, 0))(params, batch, jax.random.split(key, num_tasks))
    return jnp.mean(losses), jax.tree.map(jnp.mean, metrics)

  return mean_loss
