"""Two losses whose gradients conflict: descent along their sum, and by PCGrad. It trains nothing.

python -m experiments.study --config=configs/studies/gradient_surgery.py
"""

import ml_collections

from .study import study


def get_config() -> ml_collections.ConfigDict:
  """A figure alone: the paths of both over the two-parameter landscape of Yu et al. 2020."""
  return study(
    "gradient_surgery",
    title="Gradient surgery on two parameters",
    question=(
      "Yu et al. 2020: where gradients of two losses conflict, differ in size, and the losses are steep and curved, "
      "descent along their sum follows one loss and stays on the other; PCGrad lowers both."
    ),
    methods=(),
    families=(),
    figures=("landscape",),
  )
