"""What the configurations of context-based agents on fixed data share."""

from typing import Any

import ml_collections
from ml_collections import config_dict

from configs.defaults import defaults


def contextual_defaults(algorithm: str, family: str, **hyperparameters: Any) -> ml_collections.ConfigDict:
  """The configuration of `algorithm` with these hyper-parameters beside the common ones."""
  config = defaults(
    algorithm,
    family,
    latent_size=5,
    encoder_hidden_sizes=(64, 64),
    next_observation=True,
    core="iql",  # or 'sac', 'awac', 'brac'
    hidden_sizes=(128, 128),
    reward_scale=100.0,  # on returns of size one
    expectile=0.8,
    temperature=1.0,
    max_weight=100.0,
    behaviour_penalty=1.0,
    divergence_target=config_dict.placeholder(float),  # none: the penalty keeps its ratio to the values
    max_penalty=2000.0,
    penalty_rate=1.0,
    tau=0.005,
    agent_learning_rate=1e-3,
    encoder_learning_rate=1e-3,
    encoder_steps=config_dict.placeholder(int),  # none: the encoder learns throughout
    **hyperparameters,
  )
  config.training.steps = 10_000
  config.training.tasks_per_update = 8
  config.training.support_size = 128
  config.training.query_size = 256 if family == "cheetah_dir" else 64  # two tasks, or eight of many
  config.training.evaluate_every = 2_500
  config.training.checkpoint_every = 2_500
  return config
