"""The section of an algorithm in a configuration: its factory's defaults, and the departures from them."""

from collections.abc import Mapping
from typing import Any

import ml_collections
from ml_collections import config_dict

from macaw_jax.algorithms.settings import defaults_of, suggestion, types_of


def algorithm_section(name: str, departures: Mapping[str, Any] | None = None, **more: Any) -> ml_collections.ConfigDict:
  """`config.algorithm` of the algorithm called `name`, with these departures from its defaults; sections are nested.

  Raises ValueError for a departure that the algorithm has no setting for.
  """
  kinds = types_of(name)

  def placed(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    return {
      setting: placed(value, f"{prefix}{setting}.")
      if isinstance(value, Mapping)
      else config_dict.placeholder(kinds[prefix + setting])
      if value is None
      else value
      for setting, value in settings.items()
    }

  section = ml_collections.ConfigDict({"name": name, **placed(defaults_of(name))})
  depart(section, {**(departures or {}), **more})
  return section


def depart(section: ml_collections.ConfigDict, departures: Mapping[str, Any], place: str = "config.algorithm") -> None:
  """Sets these values of a section. Raises ValueError for a name that it does not have."""
  for setting, value in departures.items():
    if setting not in section:
      raise ValueError(f"{place} has no setting {setting!r}: {suggestion(setting, section.keys(), place)}")
    if isinstance(value, Mapping):
      depart(section[setting], value, f"{place}.{setting}")
    else:
      section[setting] = value


def decay_with(section: ml_collections.ConfigDict, steps: Any) -> None:
  """Lets the learning rates end at zero after `steps`, a reference that the section then follows.

  A number far above the steps of training keeps the learning rates. An algorithm of your own may have no such setting.
  """
  for rates in (section, section.get("optimizer", {}), section.get("ppo", {})):
    if "decay_steps" in rates:
      rates.decay_steps = steps
