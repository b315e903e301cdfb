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
  check_seeds(config)
  grid = parse_grid(config.population.grid, config.algorithm)
  seeds = range(config.seed, config.seed + config.population.seeds)
  combinations = [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]
  alone = not grid and len(seeds) == 1
  return tuple(_member(config, values, seed, alone) for values, seed in itertools.product(combinations, seeds))


def num_members(config: ml_collections.ConfigDict) -> int:
  """How many members `members_of` makes."""
  return config.population.seeds * math.prod(map(len, parse_grid(config.population.grid, config.algorithm).values()))


def check_seeds(config: ml_collections.ConfigDict) -> None:
  """Raises `ConfigurationError` if the seeds of the population go beyond the largest."""
  last = config.seed + config.population.seeds - 1
  if last > MAX_SEED:
    raise ConfigurationError(
      f"config.population.seeds = {config.population.seeds}: the last seed would be {last}, above 2^32 - 1"
    )


def parse_grid(text: str, hyperparameters: Mapping[str, Any]) -> dict[str, list[float | bool]]:
  """`"temperature=0.5,1;first_order=true,false"` as values by name.

  Raises:
    ConfigurationError: for every part that is no `name=value,value`, every name that is there twice, that the algorithm
      does not have or that is neither a number with a fraction nor a switch, and every value that is not of its kind.
  """
  grid: dict[str, list[float | bool]] = {}
  problems: list[str] = []
  for part in filter(None, (part.strip() for part in text.split(";"))):
    try:
      name, values = _parse_part(part, hyperparameters)
      if name in grid:
        raise ConfigurationError(f"{name} is there twice")
      grid[name] = values
    except ConfigurationError as error:
      problems += error.problems
  if problems:
    raise ConfigurationError(*(f"config.population.grid: {problem}" for problem in problems))
  return grid


def _parse_part(part: str, hyperparameters: Mapping[str, Any]) -> tuple[str, list[float | bool]]:
  """A name and its values."""
  name, separator, texts = (piece.strip() for piece in part.partition("="))
  if not separator or not texts:
    raise ConfigurationError(f"{part!r}: expected <name>=<value>,<value>,...")
  if name not in hyperparameters:
    raise ConfigurationError(f"config.algorithm has no field {name!r}")
  kind = type(hyperparameters[name])
  if kind not in (float, bool):
    raise ConfigurationError(shared(name, hyperparameters[name]))
  parsed = {text.strip(): _parse_value(kind, text.strip()) for text in texts.split(",")}
  wrong = [text for text, value in parsed.items() if value is None]
  if wrong:
    expected = "true or false" if kind is bool else "a number"
    raise ConfigurationError(*(f"{name}={text}: expected {expected}" for text in wrong))
  values = [value for value in parsed.values() if value is not None]
  if len(set(values)) < len(texts.split(",")):
    raise ConfigurationError(f"{name} has a value twice")
  return name, values


def shared(name: str, value: Any) -> str:
  """Says that members cannot differ in a hyper-parameter."""
  return (
    f"config.algorithm.{name} = {value!r} decides the shape of the program, which members share; only numbers with a "
    "fraction and switches that do not can differ. Start a run for each value"
  )


def _parse_value(kind: type, text: str) -> float | bool | None:
  """The value, or None where the text is none of this kind."""
  if kind is bool:
    return {"true": True, "false": False}.get(text.lower())
  try:
    number = float(text)
  except ValueError:
    return None
  return number if math.isfinite(number) else None


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
