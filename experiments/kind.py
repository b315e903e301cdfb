"""A kind of run, by where its batches come from: how its configuration is checked, and what it is made into."""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import ml_collections

from macaw_jax.envs.family import TaskFamily
from macaw_jax.evaluation.evaluate import Evaluate, Split
from macaw_jax.sources.source import Source
from macaw_jax.types import Algorithm, Problem

from .configuration import Field
from .validation import Rule


def as_it_is(algorithm: Algorithm) -> Algorithm:
  """The algorithm of a run whose batches are data."""
  return algorithm


class Parts(NamedTuple):
  """What a configuration is made into, beside its algorithm.

  `source` and `evaluate` are made for the algorithm that adapts and acts for any member of the population.
  """

  family: TaskFamily
  problem: Problem
  source: Callable[[Algorithm], Source]
  evaluate: Callable[[Algorithm], Evaluate]
  description: Sequence[str]
  splits: Sequence[Split]  # that are evaluated, the test tasks first
  wrap: Callable[[Algorithm], Algorithm] = as_it_is  # how the algorithm takes the source's batches
  identity: Mapping[str, str] = MappingProxyType({})
  train: Split | None = None  # the training tasks, with their data where they are recorded


class Kind(NamedTuple):
  """A kind of run.

  fields:     what each field of its configuration may hold
  rules:      what they must fulfil together
  examine:    `(config) -> examined`, what rules look at and parts are made from; nothing is read before it is asked for
  assemble:   `(examined, train) -> Parts`, of a configuration that is right; `train` are the training tasks with their
              data if they are loaded already, else None
  data_name:  what a run's default directory is called by
  call:       the field of `config.training` that says how many updates a compiled call has
  may_change: fields, beside those that every kind has, that do not make it another run
  """

  fields: Mapping[str, Field]
  rules: Sequence[Rule]
  examine: Callable[[ml_collections.ConfigDict], Any]
  assemble: Callable[[Any, Split | None], Parts]
  data_name: Callable[[ml_collections.ConfigDict], str]
  call: str
  may_change: Sequence[str] = ()
