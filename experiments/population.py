"""The members of a population: each is the configuration of a run alone.

--config.population.seeds=8                                   seeds config.seed to config.seed + 7
--config.population.grid="temperature=0.5,1;first_order=true,false"   every combination of these hyper-parameters
"""

import itertools
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import ml_collections

from experiments.configuration import MAX_SEED, ConfigurationError
from experiments.run_directory import default_directory


class Member(NamedTuple):
  """One run of a population."""

  label: str  # in what it differs, as "temperature=0.5, seed 3"
  config: ml_collections.ConfigDict  # of the same run alone
  hyperparameters: dict[str, float | bool]  # its values of what differs between members, seeds apart


def members_of(config: ml_collections.ConfigDict) -> tuple[Member, ...]:
  """All members, seeds of one combination beside each other; a run alone is its only member.

  A member is written where the run alone would be: `runs/<algorithm>-<dataset>-<seed>`, with the values of the grid
  before the seed, or a folder of `config.output_directory`.

  Raises:
    ConfigurationError: the grid is malformed, or names what cannot differ within one program.
  """
  grid = parse_grid(config.population.grid, config.algorithm)
  seeds = range(config.seed, config.seed + config.population.seeds)
  if seeds[-1] > MAX_SEED:
    raise ConfigurationError(
      f"config.population.seeds = {len(seeds)}: the last seed would be {seeds[-1]}, above 2^32 - 1"
    )
  combinations = [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]
  alone = not grid and len(seeds) == 1
  return tuple(_member(config, values, seed, alone) for values, seed in itertools.product(combinations, seeds))


def parse_grid(text: str, hyperparameters: Mapping[str, Any]) -> dict[str, list[float | bool]]:
  """`"temperature=0.5,1;first_order=true,false"` as values by name.

  Raises:
    ConfigurationError: for a part that is no `name=value,value`, a name that the algorithm does not have or that is
      neither a number with a fraction nor a switch, or a value that is not of its kind.
  """
  grid: dict[str, list[float | bool]] = {}
  for part in filter(None, (part.strip() for part in text.split(";"))):
    name, separator, values = (piece.strip() for piece in part.partition("="))
    if not separator or not values:
      raise ConfigurationError(f"config.population.grid: {part!r}: expected <name>=<value>,<value>,...")
    if name not in hyperparameters:
      raise ConfigurationError(f"config.population.grid: config.algorithm has no field {name!r}")
    if name in grid:
      raise ConfigurationError(f"config.population.grid: {name} is there twice")
    kind = type(hyperparameters[name])
    if kind not in (float, bool):
      raise ConfigurationError(
        f"config.population.grid: config.algorithm.{name} = {hyperparameters[name]!r} decides the shape of the "
        "program, which members share; only numbers with a fraction and switches can differ. Start a run for each value"
      )
    grid[name] = [_value(name, kind, value.strip()) for value in values.split(",")]
    if len(set(grid[name])) < len(grid[name]):
      raise ConfigurationError(f"config.population.grid: {name} has a value twice")
  return grid


def _value(name: str, kind: type, text: str) -> float | bool:
  if kind is bool:
    if text.lower() not in ("true", "false"):
      raise ConfigurationError(f"config.population.grid: {name}={text}: expected true or false")
    return text.lower() == "true"
  try:
    number = float(text)
  except ValueError:
    number = math.nan
  if not math.isfinite(number):
    raise ConfigurationError(f"config.population.grid: {name}={text}: expected a number")
  return number


def _member(config: ml_collections.ConfigDict, values: dict[str, float | bool], seed: int, alone: bool) -> Member:
  member = config.copy_and_resolve_references()
  member.seed = seed
  member.population.seeds = 1
  member.population.grid = ""
  member.algorithm.update(values)
  if alone:
    return Member("", member, {})
  settings = [f"{name}={value}" for name, value in values.items()]
  if config.output_directory:
    member.output_directory = f"{config.output_directory}/{'-'.join([*settings, str(seed)])}"
  elif settings:
    member.output_directory = str(default_directory(member, settings))
  return Member(", ".join([*settings, f"seed {seed}"]), member, values)
