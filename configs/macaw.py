"""MACAW.

python -m experiments.run --config=configs/macaw.py                 half-cheetah forward and backward, starter data
python -m experiments.run --config=configs/macaw.py:cheetah_vel     half-cheetah at 40 velocities, data/cheetah_vel
python -m experiments.run --config=configs/macaw.py:<name>          data/<name>, of another family or your own

Value targets and temperature follow the data (docs/algorithms/README.md).
"""

import ml_collections

from .defaults import defaults


def get_config(data: str = "cheetah_dir", algorithm: str = "macaw") -> ml_collections.ConfigDict:
  """MACAW as it does best here; `macaw_jax.algorithms.macaw.RELEASED` has the released code's choices."""
  config = defaults(algorithm, data)
  if data == "cheetah_vel":
    config.training.steps = 8_000  # the length of the runs in docs/results.md
  return config
