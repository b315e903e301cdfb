"""Weight-transform layers against plain ones, of equal width and of an equal number of parameters.

python -m experiments.study --config=configs/studies/layers.py
"""

import ml_collections

from .study import study

# 4.92 million parameters with the weight-transform layers of width 100 on the half-cheetah, and as many here.
WIDE = 1_099


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
      "weight_transform": {"algorithm": {"layer": "weight_transform"}},
      "bias_transform": {"algorithm": {"layer": "bias_transform"}},
      "plain": {"algorithm": {"layer": "dense"}},
      "plain_wide": {"algorithm": {"layer": "dense", "hidden_sizes": (WIDE,) * 3}},
    },
    # An update of the wide networks takes a hundred times as long, and learning is fast or slow well before.
    training={"steps": 500, "evaluate_every": 50, "checkpoint_every": 100},
    figures=("curves", "settings", "improvement"),
  )
