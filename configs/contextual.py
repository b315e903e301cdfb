"""The shared part of configurations of context-based agents on recorded data.

docs/results.md has their scores with three seeds on three families, and on other supports.
"""

from typing import Any

import ml_collections

from .defaults import defaults


def contextual_defaults(algorithm: str, family: str, **departures: Any) -> ml_collections.ConfigDict:
  """The configuration of `algorithm`, with these departures from its factory's defaults."""
  config = defaults(algorithm, family, **departures)
  config.training.steps = 10_000
  config.training.tasks_per_update = 8
  config.training.support_size = 128
  config.training.query_size = 256 if family == "cheetah_dir" else 64  # two tasks, or eight of many
  config.training.evaluate_every = 2_500
  config.training.checkpoint_every = 2_500
  return config
