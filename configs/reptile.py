"""Reptile by policy gradients, with rewards.

python -m experiments.run --config=configs/reptile.py            point agent with rotated actions
python -m experiments.run --config=configs/reptile.py:<family>   any other family

Values are not tuned: on the point agent a run of 500 updates was not seen to do better after its steps than standing
still.
"""

import ml_collections

from configs.on_policy import on_policy


def get_config(family: str = "point_rotated") -> ml_collections.ConfigDict:
  """Reptile on a family. With one inner step it would be training on all tasks at once."""
  config = on_policy(
    "reptile",
    family,
    surrogate="log_prob",
    loaded_lambda=1.0,  # of the surrogate 'loaded_dice'
    step_size=0.1,
    lambda_=1.0,
    learning_rate=1.0,
    initial_log_std=-1.2,
    hidden_sizes=(64, 64),
    activation="tanh",
  )
  config.rollouts.episodes = 20
  config.rollouts.inner_steps = 3
  if family.startswith("point_rotated"):
    config.rollouts.discount = 0.9
  return config
