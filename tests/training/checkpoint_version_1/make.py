"""Makes the stored checkpoint of format version 1, in a directory of which its files keep the name.

python tests/training/checkpoint_version_1/make.py /checkpoints

It was made once, by the release that began the format, and is not made anew: a test restores it for as long as
version 1 is read.
"""

import sys

import ml_dtypes
import numpy as np

from macaw_jax.training.checkpoints import Checkpoint, Checkpoints
from macaw_jax.training.population import Skips
from macaw_jax.types import MetaParams, TrainState


def make_checkpoint():
  """The checkpoint, its score and its progress."""
  weight = np.array([[0.1, -0.0, np.nan], [np.inf, 1e-45, -3.5]], np.float32)
  params = MetaParams({"policy": {"kernel": weight, "bias": np.array([1.5, -2.0], ml_dtypes.bfloat16)}}, {})
  optimiser = (
    {"mu": np.arange(-2, 2, dtype=np.int32), "frozen": np.array([True, False])},
    np.zeros((0, 3), np.float32),
  )
  statistics = {"return_scale": np.array(0.1), "count": np.array(2**53 + 1)}
  state = TrainState(params, optimiser, np.int32(7))
  return Checkpoint(state, statistics, Skips(np.int32(2), np.int32(0))), 71.25, {"metrics_rows": 3, "evaluated": True}


def main(directory):
  checkpoint, score, progress = make_checkpoint()
  with Checkpoints(directory, identity={"config": "0123abcd"}) as checkpoints:
    checkpoints.save(int(checkpoint.state.step), checkpoint, score=score, progress=progress)


if __name__ == "__main__":
  main(sys.argv[1])
