"""The shared part of configurations of agents that remember, on recorded data."""

from typing import Any

import ml_collections

from .contextual import contextual_defaults


def sequences(algorithm: str, data: str, **departures: Any) -> ml_collections.ConfigDict:
  """The configuration of `algorithm` on the data of a name: its rows are consecutive, in training and at test."""
  config = contextual_defaults(algorithm, data, **departures)
  config.training.order = "contiguous"
  config.evaluation.order = "contiguous"
  return config
