"""The members of a population: each is the configuration of a run alone.

--config.population.seeds=8                                   seeds config.seed to config.seed + 7
--config.population.grid="temperature=0.5,1;first_order=true,false"   every combination of these settings
--config.population.variants=maml,norml                       the settings of config.variants.maml and of .norml
"""

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import ml_collections

from macaw_jax.algorithms.lookup import short_name
from macaw_jax.algorithms.settings import types_of
from macaw_jax.errors import ConfigurationError
from macaw_jax.json_files import flatten
from macaw_jax.training.run import Member

from .configuration import MAX_SEED

Values = dict[str, float | bool]


class Variant(NamedTuple):
  """The settings that members of different seeds share and other members do not."""

  texts: tuple[str, ...]  # as labels and directories name it
  values: dict[str, Any]  # in place of those of `config.algorithm`, by dotted names
  differing: Values  # those of them that the variants differ in
  name: str = ""  # in `config.variants`


def members_of(config: ml_collections.ConfigDict, data_name: str) -> tuple[Member, ...]:
  """All members, seeds of one combination beside each other; a run alone is its only member.

  A member has the directory of the run alone: `runs/<algorithm>-<data_name>-<seed>`, with the variant or the values of
  the grid before the seed, or a folder of `config.output_directory`.

  Raises:
    ConfigurationError: as `variants_of`, or a seed is too large.
  """
  check_seeds(config)
  variants, seeds = variants_of(config), range(config.seed, config.seed + config.population.seeds)
  alone = len(variants) == len(seeds) == 1 and not config.population.grid.strip()
  return tuple(_member(config, variant, seed, data_name, alone) for variant, seed in itertools.product(variants, seeds))


def variants_of(config: ml_collections.ConfigDict) -> list[Variant]:
  """Every chosen variant, or every combination of the grid; one variant without values where there is neither.

  Raises:
    ConfigurationError: the grid is malformed, or names what cannot differ within one program, or as `chosen_variants`.
  """
  if names := chosen_variants(config):
    differing = differing_names(config, names)
    return [_named(name, flatten(config.variants[name].to_dict()), differing) for name in names]
  grid = parse_grid(config.population.grid, config.algorithm)
  combinations = [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]
  return [Variant(tuple(f"{name}={value}" for name, value in each.items()), each, each) for each in combinations]


def _named(name: str, values: dict[str, Any], differing: Sequence[str]) -> Variant:
  # An integer becomes a float: the values of all members are one array.
  of_member = {each: values[each] if isinstance(values[each], bool) else float(values[each]) for each in differing}
  return Variant((name,), values, of_member, name)


def chosen_variants(config: ml_collections.ConfigDict) -> list[str]:
  """The names that `config.population.variants` lists, all of them for `all`; none where it is empty.

  Raises:
    ConfigurationError: one is not in `config.variants`, or is there twice, or there is a grid too.
  """
  text = config.population.get("variants", "").strip()
  if not text:
    return []
  if config.population.grid.strip():
    raise ConfigurationError("config.population: expected variants or grid, found both")
  known = list(config.get("variants", {}))
  if not known:
    raise ConfigurationError(f"config.population.variants = {text!r}: config.variants has none")
  names = known if text == "all" else [name.strip() for name in text.split(",")]
  problems = [
    f"{name!r}: expected all, or names in config.variants: {', '.join(known)}"
    for name in dict.fromkeys(names)
    if name not in known
  ]
  problems += [f"{name} is there {names.count(name)} times" for name in dict.fromkeys(names) if names.count(name) > 1]
  if problems:
    raise ConfigurationError(*(f"config.population.variants: {problem}" for problem in problems))
  return names


def differing_names(config: ml_collections.ConfigDict, names: Sequence[str]) -> list[str]:
  """The settings in which some variants, which name the same ones, differ."""
  values = [flatten(config.variants[name].to_dict()) for name in names]
  return [name for name in values[0] if any(of_variant[name] != values[0][name] for of_variant in values)]


def replaced_by_variants(config: ml_collections.ConfigDict, fields: Iterable[str]) -> list[str]:
  """A line for each of these fields, as `algorithm.step_size`, that a chosen variant has a value of its own for."""
  try:
    variants = {name: flatten(config.variants[name].to_dict()) for name in chosen_variants(config)}
  except (AttributeError, TypeError, ConfigurationError):
    return []  # The variants themselves are wrong, as the check of the configuration says.
  lines = []
  for field in dict.fromkeys(fields):
    section, _, name = field.partition(".")
    places = [
      f"config.variants.{variant}.{name}"
      for variant, values in variants.items()
      if section == "algorithm" and name in values
    ]
    if places:
      takes = "takes its place; set that" if len(places) == 1 else "take its place; set those"
      lines.append(f"config.{field}: {', '.join(places)} {takes}")
  return lines


def check_seeds(config: ml_collections.ConfigDict) -> None:
  """Raises `ConfigurationError` if the seeds of the population go beyond the largest."""
  last = config.seed + config.population.seeds - 1
  if last > MAX_SEED:
    raise ConfigurationError(
      f"config.population.seeds = {config.population.seeds}: the last seed would be {last}, above 2^32 - 1"
    )


def parse_grid(text: str, algorithm: ml_collections.ConfigDict) -> dict[str, list[float | bool]]:
  """`"actor_critic.temperature=0.5,1;first_order=true,false"` as values by dotted name.

  Raises:
    ConfigurationError: for every part that is no `name=value,value`, every name that is there twice, that the algorithm
      does not have or that is neither a number with a fraction nor a switch, and every value that is not of its kind.
  """
  settings, kinds = flatten(algorithm.to_dict()), types_of(algorithm.name)
  grid: dict[str, list[float | bool]] = {}
  problems: list[str] = []
  for part in filter(None, (part.strip() for part in text.split(";"))):
    try:
      name, values = _parse_part(part, settings, kinds)
      if name in grid:
        raise ConfigurationError(f"{name} is there twice")
      grid[name] = values
    except ConfigurationError as error:
      problems += error.problems
  if problems:
    raise ConfigurationError(*(f"config.population.grid: {problem}" for problem in problems))
  return grid


def _parse_part(part: str, settings: Mapping[str, Any], kinds: Mapping[str, type]) -> tuple[str, list[float | bool]]:
  """A name and its values; `kinds` are the types of the settings, some of which may be None."""
  name, separator, texts = (piece.strip() for piece in part.partition("="))
  if not separator or not texts:
    raise ConfigurationError(f"{part!r}: expected <name>=<value>,<value>,...")
  if name not in settings:
    raise ConfigurationError(f"config.algorithm has no field {name!r}")
  kind = kinds[name]
  if kind not in (float, bool):
    raise ConfigurationError(shared(f"algorithm.{name}", settings[name]))
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
  """Says that members cannot differ in a setting, a field as `algorithm.layers`."""
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


def _member(config: ml_collections.ConfigDict, variant: Variant, seed: int, data_name: str, alone: bool) -> Member:
  own = config.copy_and_resolve_references()
  own.seed = seed
  own.population.seeds = 1
  own.population.grid = ""
  with own.algorithm.unlocked():
    own.algorithm.update_from_flattened_dict(variant.values)
  if "variants" in own:
    _keep_variant(own, variant.name)
  texts = (*variant.texts, str(seed))
  directory = config.output_directory or f"runs/{'-'.join([short_name(config.algorithm.name), data_name, *texts])}"
  if config.output_directory and not alone:
    directory = f"{config.output_directory}/{'-'.join(texts)}"
  if not alone and (config.output_directory or (variant.texts and not variant.name)):
    own.output_directory = directory  # A variant names a directory of its own.
  label = "" if alone else ", ".join([*variant.texts, f"seed {seed}"])
  return Member(Path(directory), seed, label, variant.name, {} if alone else variant.differing, own.to_dict())


def _keep_variant(config: ml_collections.ConfigDict, name: str) -> None:
  """Leaves the other variants out: a change of theirs makes no other run of this member."""
  config.population.variants = name
  with config.unlocked():
    for other in set(config.variants) - {name}:
      del config.variants[other]
