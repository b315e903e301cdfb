"""A run as values: all that a training session is handed. Nobody behind it reads a configuration."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from macaw_jax.envs.family import TaskFamily
from macaw_jax.evaluation.evaluate import Evaluate
from macaw_jax.sources.source import Source
from macaw_jax.training.population import Hyperparameters, MakeAlgorithm


class Schedule(NamedTuple):
  """How long a run is, in updates, and what happens on the way."""

  steps: int
  steps_per_call: int = 100  # in one compiled call; divides the three numbers around it
  evaluate_every: int = 500
  checkpoint_every: int = 1_000
  keep_checkpoints: int = 3  # the newest; that of the best score on training tasks is kept beside them
  max_skips_in_a_row: int = 10  # updates skipped, because not every number is finite, that stop a member


class Member(NamedTuple):
  """One run of a population, as it would be alone."""

  directory: Path
  seed: int = 0
  label: str = ""  # in what it differs from the others, as "temperature=0.5, seed 3"
  variant: str = ""
  hyperparameters: Hyperparameters = MappingProxyType({})  # its values of what differs between members, seeds apart
  config: Mapping[str, Any] = MappingProxyType({})  # of the run alone, as its files record it


class Devices(NamedTuple):
  """Over how many devices members and the tasks of an update are laid out."""

  seed: int = 1
  task: int = 1
  distributed: bool = False  # whether this is one of several processes


class Run(NamedTuple):
  """A population of runs in one program; a run alone is a population of one.

  algorithm:      its name
  make_algorithm: `(**hyperparameters) -> Algorithm`, in which members may differ
  source:         where batches come from
  members:        in one order throughout
  schedule:       updates, evaluations, checkpoints
  evaluate:       tells what an agent has learned; None: the run is not evaluated
  family:         that the tasks belong to, if it is known
  agent:          what an agent is made again from, as JSON: `algorithm`, `settings`, `problem`; empty where it is not
                  one of `ALGORITHMS`
  identity:       name -> digest of data that the run must find unchanged when it continues
  may_change:     dotted names of configuration fields that do not make it another run
  follows:        those whose values follow from another field's, by dotted name of both
  devices:        see `Devices`
  description:    lines about what there is to learn from
  """

  algorithm: str
  make_algorithm: MakeAlgorithm
  source: Source
  members: Sequence[Member]
  schedule: Schedule
  evaluate: Evaluate | None = None
  family: TaskFamily | None = None
  agent: Mapping[str, Any] = MappingProxyType({})
  identity: Mapping[str, str] = MappingProxyType({})
  may_change: Sequence[str] = ()
  follows: Mapping[str, str] = MappingProxyType({})
  devices: Devices = Devices()
  description: Sequence[str] = ()
