"""The members of a population: each is the configuration of a run alone.

--config.population.seeds=8                                   seeds config.seed to config.seed + 7
--config.population.grid="temperature=0.5,1;first_order=true,false"   every combination of these hyper-parameters
--config.population.variants=maml,norml                           the values of config.variants.maml and of config.variants.norml
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import ml_collections

from experiments.arms import differing_names, parse_arms
from experiments.configuration import MAX_SEED, ConfigurationError
from experiments.run_directory import default_directory

Values = dict[str, float | bool]


class Member(NamedTuple):
  """One run of a population."""

  label: str  # in what it differs, as "temperature=0.5, seed 3"
  config: ml_collections.ConfigDict  # of the same run alone
  hyperparameters: Values  # its values of what differs between members, seeds apart


class Variant(NamedTuple):
  """What some members, of different seeds, have in common and others have not."""

  settings: tuple[str, ...]  # as labels and directories name it
  values: dict[str, Any]  # in place of those of `config.algorithm`
  differing: Values  # those of them that the variants differ in
  arm: str = ""


def members_of(config: ml_collections.ConfigDict) -> tuple[Member, ...]:
  """All members, seeds of one combination beside each other; a run alone is its only member.

  A member is written where the run alone would be: `runs/<algorithm>-<dataset>-<seed>`, with the arm or the values of
  the grid before the seed, or a folder of `config.output_directory`.

  Raises:
    ConfigurationError: the grid is malformed, or names what cannot differ within one program; or `parse_arms` does.
  """
  check_seeds(config)
  variants = variants_of(config)
  seeds = range(config.seed, config.seed + config.population.seeds)
  alone = len(variants) == len(seeds) == 1 and not config.population.grid.strip()
  return tuple(_member(config, variant, seed, alone) for variant, seed in itertools.product(variants, seeds))


def num_members(config: ml_collections.ConfigDict) -> int:
  """How many members `members_of` makes."""
  return config.population.seeds * len(variants_of(config))


def variants_of(config: ml_collections.ConfigDict) -> list[Variant]:
  """Every arm, or every combination of the grid; one variant without values where there is neither."""
  if arms := parse_arms(config):
    differing = differing_names(config, arms)
    return [_arm(name, config.variants[name].to_dict(), differing) for name in arms]
  grid = parse_grid(config.population.grid, config.algorithm)
  combinations = [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]
  return [Variant(tuple(f"{name}={value}" for name, value in each.items()), each, each) for each in combinations]


def _arm(name: str, values: dict[str, Any], differing: Sequence[str]) -> Variant:
  # An integer stands for the number that it is: between members it is an array beside those with a fraction.
  of_member = {each: values[each] if isinstance(values[each], bool) else float(values[each]) for each in differing}
  return Variant((name,), values, of_member, name)


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
    raise ConfigurationError(shared(f"algorithm.{name}", hyperparameters[name]))
  parsed = {text.strip(): _parse_value(kind, text.strip()) for text in texts.split(",")}
  wrong = [text for text, value in parsed.items() if value is None]
  if wrong:
    expected = "true or false" if kind is bool else "a number"
    raise ConfigurationError(*(f"{name}={text}: expected {expected}" for text in wrong))
  values = [value for value in parsed.values() if value is not None]
  if len(set(values)) < len(texts.split(",")):
    raise ConfigurationError(f"{name} has a value twice")
  return name, values


def shared(field: str, value: Any) -> str:
  """Says that members cannot differ in a hyper-parameter, a field as `algorithm.layers`."""
  return (
    f"config.{field} = {value!r} decides the shape of the program, which members share; only numbers with a "
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


def _member(config: ml_collections.ConfigDict, variant: Variant, seed: int, alone: bool) -> Member:
  settings = variant.settings
  member = config.copy_and_resolve_references()
  member.seed = seed
  member.population.seeds = 1
  member.population.grid = ""
  member.algorithm.update(variant.values)
  if "arms" in member:
    _keep_arm(member, variant.arm)
  if alone:
    return Member("", member, {})
  if config.output_directory:
    member.output_directory = f"{config.output_directory}/{'-'.join([*settings, str(seed)])}"
  elif settings and not variant.arm:  # An arm names a directory of its own.
    member.output_directory = str(default_directory(member, settings))
  return Member(", ".join([*settings, f"seed {seed}"]), member, variant.differing)


def arm_of(member: ml_collections.ConfigDict) -> str:
  """The arm that the configuration of a member is; '' where it is none."""
  return member.population.get("arms", "")


def _keep_arm(member: ml_collections.ConfigDict, arm: str) -> None:
  """Leaves the other arms out: a change of theirs makes no other run of this member."""
  member.population.variants = arm
  with member.unlocked():
    for name in set(member.arms) - {arm}:
      del member.arms[name]
