"""Weight-transform layers against plain ones, of equal width and of an equal number of parameters.

python -m experiments.study --config=configs/studies/layers.py
"""

import ml_collections

from .study import study

WIDTH = 32  # a third of MACAW's own, so that plain networks with as many parameters can be trained on two cores
WIDE = 413  # 0.716 million parameters on the half-cheetah, as many as weight-transform layers of that width have


def get_config() -> ml_collections.ConfigDict:
  """MACAW with layers whose weights are generated from a latent vector, and with plain layers of two widths."""
  return study(
    "layers",
    title="Weight-transform layers and plain ones",
    question=(
      "Mitchell et al. 2021: layers whose weights are a linear function of a latent vector adapt better than "
      "plain ones of the same width. They have a hundred times the parameters; the wide plain networks have as many."
    ),
    methods=("macaw",),
    settings={
      "weight_transform": {"algorithm": {"layer": "weight_transform", "hidden_sizes": (WIDTH,) * 3}},
      "bias_transform": {"algorithm": {"layer": "bias_transform", "hidden_sizes": (WIDTH,) * 3}},
      "plain": {"algorithm": {"layer": "dense", "hidden_sizes": (WIDTH,) * 3}},
      "plain_wide": {"algorithm": {"layer": "dense", "hidden_sizes": (WIDE,) * 3}},
    },
    training={"steps": 1_000, "evaluate_every": 100, "checkpoint_every": 100},
    figures=("curves", "settings", "improvement"),
  )
