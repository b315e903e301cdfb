"""Arms: sections of `config.variants`, which a configuration names; their values take the place of `config.algorithm`'s."""

from collections.abc import Iterable, Sequence

import ml_collections

from experiments.configuration import ConfigurationError


def parse_arms(config: ml_collections.ConfigDict) -> list[str]:
  """The arms that `config.population.variants` names, all for `all`; none where there are no arms.

  Raises:
    ConfigurationError: one is not in `config.variants`, or is there twice, or there is a grid too.
  """
  text = config.population.get("arms", "").strip()
  if not text:
    return []
  if config.population.grid.strip():
    raise ConfigurationError("config.population: expected arms or grid, found both")
  known = list(config.get("arms", {}))
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


def differing_names(config: ml_collections.ConfigDict, arms: Sequence[str]) -> list[str]:
  """The hyper-parameters in which some arms, which name the same ones, differ."""
  values = [config.variants[name].to_dict() for name in arms]
  return [name for name in values[0] if any(of_arm[name] != values[0][name] for of_arm in values)]


def replaced_by_arms(config: ml_collections.ConfigDict, fields: Iterable[str]) -> list[str]:
  """A line for each of these fields, as `algorithm.step_size`, that a chosen arm has a value of its own for."""
  try:
    arms = {name: config.variants[name] for name in parse_arms(config)}
  except (AttributeError, TypeError, ConfigurationError):
    return []  # The arms themselves are wrong, as the check of the configuration says.
  lines = []
  for field in dict.fromkeys(fields):
    section, _, name = field.partition(".")
    places = [
      f"config.variants.{arm}.{name}"
      for arm, values in arms.items()
      if section == "algorithm" and isinstance(values, ml_collections.ConfigDict) and name in values
    ]
    if places:
      takes = "takes its place; set that" if len(places) == 1 else "take its place; set those"
      lines.append(f"config.{field}: {', '.join(places)} {takes}")
  return lines
