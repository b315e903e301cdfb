"""MACAW.

python -m experiments.run --config=configs/macaw.py                 half-cheetah forward and backward, starter data
python -m experiments.run --config=configs/macaw.py:cheetah_vel     half-cheetah at 40 velocities, data/cheetah_vel
python -m experiments.run --config=configs/macaw.py:<family>        any other family of docs/families, data/<family>
"""

import ml_collections

from .defaults import SHORT_EPISODES, defaults


def get_config(family: str = "cheetah_dir", algorithm: str = "macaw") -> ml_collections.ConfigDict:
  """MACAW as it does best here; `macaw_jax.algorithms.macaw.RELEASED` has the released code's choices."""
  config = defaults(algorithm, family)
  if family == "cheetah_vel":
    config.training.steps = 8_000
  if family in SHORT_EPISODES:
    config.algorithm.temperature = 0.5
  elif family != "cheetah_dir":
    # A return to the end of a recorded episode also says how much of the episode was left, which no observation
    # shows and which passes for advantage. Bootstrapping at the time limit takes it out. Where tasks differ as much
    # as two directions, it is not needed, and training without it is steadier.
    config.algorithm.inner_value_target = "bootstrapped"
    config.algorithm.outer_value_target = "bootstrapped"
    config.algorithm.advantage_target = "bootstrapped"
    config.algorithm.temperature = 0.5
  return config
