"""The shared part of configurations of context-based agents on recorded data.

docs/results.md has their scores with three seeds on three families, and on other supports.
"""

from typing import Any

import ml_collections
from ml_collections import config_dict

from .defaults import defaults


def contextual_defaults(algorithm: str, data: str, **departures: Any) -> ml_collections.ConfigDict:
  """The configuration of `algorithm` on the data of a name, with these departures from its factory's defaults."""
  config = defaults(algorithm, data, **departures)
  config.training.steps = 10_000
  config.training.tasks_per_update = 8
  config.training.support_size = 128
  # None, and so 512 of all tasks of an update: 256 of each of two tasks, or 64 of each of eight.
  config.training.query_size = config_dict.placeholder(int)
  config.training.evaluate_every = 2_500
  config.training.checkpoint_every = 2_500
  return config
