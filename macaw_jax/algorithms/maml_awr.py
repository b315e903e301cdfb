"""MAML+AWR: meta-learned advantage-weighted regression, the baseline of Mitchell et al. 2021 (section 5).

MACAW with one term less: neither advantage head nor advantage regression in the inner policy step.
"""

from typing import Any

from macaw_jax.algorithms.arguments import passes_arguments_to
from macaw_jax.algorithms.macaw import macaw
from macaw_jax.types import Algorithm, Problem


@passes_arguments_to(macaw, but=("advantage_coefficient",))
def maml_awr(problem: Problem, **arguments: Any) -> Algorithm:
  """MAML+AWR: `macaw` with `advantage_coefficient=None`, and all its other arguments.

  Raises:
    TypeError: for an unknown argument. ValueError: for one outside its range.
  """
  return macaw(problem, advantage_coefficient=None, **arguments)
