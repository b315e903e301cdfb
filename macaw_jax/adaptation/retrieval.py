"""Adaptation to retrieved rows in the place of the support that is given: a function from algorithm to algorithm.

The algorithm and its training stay as they are. What is retrieved from, the reference, is a part of the net that no
optimiser steps, so that checkpoints and populations hold it like any other.
"""

from collections.abc import Callable
from typing import Any

import jax

from macaw_jax.types import Algorithm, Key, MetaParams, Metrics, Params, TaskBatch, TrainState, Transition

REFERENCE = "reference"  # the name of the part


def retrieving(
  algorithm: Algorithm,
  reference: Any,
  retrieve: Callable[[Any, Transition, Key], Transition],
  introduce: Callable[[Any, Key], Transition],
) -> Algorithm:
  """The algorithm, adapting to retrieved rows.

  Before there are data it adapts to those of `introduce`: an agent that acts as in one task explores as one that has a
  task, and its first episode says which it is in.

  Args:
    algorithm: adapts to transitions of a task, in any order.
    reference: a pytree of arrays, or its shapes where only parameters that hold it are adapted.
    retrieve: `(reference, support [B, ...], key) -> rows [C, ...]`, as `macaw_jax.data.retrieval.by_outcomes` has it.
    introduce: `(reference, key) -> rows [C, ...]`.

  Raises:
    ValueError: the algorithm reads consecutive rows, which retrieved ones are not.
  """
  if algorithm.consecutive_rows:
    raise ValueError("expected an algorithm that reads transitions in any order: retrieved ones are not consecutive")

  def init(key: Key) -> TrainState:
    return _with_reference(algorithm.init(key), reference)

  def update(state: TrainState, tasks: TaskBatch, key: Key) -> tuple[TrainState, Metrics]:
    updated, metrics = algorithm.update(state._replace(params=without_reference(state.params)), tasks, key)
    return _with_reference(updated, state.params.net[REFERENCE]), metrics

  def adapt(params: MetaParams, support: Transition, key: Key) -> dict[str, Params]:
    key_rows, key_adapt = jax.random.split(key)
    return algorithm.adapt(params, retrieve(params.net[REFERENCE], support, key_rows), key_adapt)

  def prior(params: MetaParams, key: Key) -> dict[str, Params]:
    key_rows, key_adapt = jax.random.split(key)
    return algorithm.adapt(params, introduce(params.net[REFERENCE], key_rows), key_adapt)

  return algorithm._replace(init=init, update=update, adapt=adapt, prior=prior)


def add_reference(params: MetaParams, reference: Any) -> MetaParams:
  """The parameters of an algorithm as those of the same algorithm that retrieves from a reference."""
  return params._replace(net={**params.net, REFERENCE: reference})


def without_reference(params: MetaParams) -> MetaParams:
  """The parameters of the algorithm that adapts to what it is given."""
  return params._replace(net={name: part for name, part in params.net.items() if name != REFERENCE})


def _with_reference(state: TrainState, reference: Any) -> TrainState:
  return state._replace(params=add_reference(state.params, reference))
