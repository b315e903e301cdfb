"""Whether the inner gradient tells how good an action was apart from which action it was. It trains nothing.

python -m experiments.study --config=configs/studies/universality.py
"""

import ml_collections

from .study import study


def get_config() -> ml_collections.ConfigDict:
  """A figure alone: what is read off the inner gradients of random policies, with the advantage head and without."""
  return study(
    "universality",
    title="Universality of the inner update",
    question=(
      "Mitchell et al. 2021: the gradient of advantage-weighted regression holds the product of an action "
      "and its weight alone; with the advantage head both can be read off it, and the inner update can use them."
    ),
    methods=(),
    families=(),
    figures=("universality",),
  )
