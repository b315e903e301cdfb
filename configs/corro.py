"""CORRO.

python -m experiments.run --config=configs/corro.py                 half-cheetah forward and backward, starter data
python -m experiments.run --config=configs/corro.py:cheetah_vel     half-cheetah at 40 velocities, data/cheetah_vel

A minute and a half of one core on the starter data, with a score of 97 after adaptation to a task's own data (seed 0).
"""

import ml_collections

from .contextual import contextual_defaults


def get_config(data: str = "cheetah_dir") -> ml_collections.ConfigDict:
  """Contrasts between outcomes."""
  # The agent then learns on latents that stand still, as in the last stage of the released code. On cheetah_dir it did
  # not learn at all beside an encoder that kept moving.
  return contextual_defaults("corro", data, optimizer={"encoder_steps": 3_000})
