"""PEARL, which collects its own data: the belief of `pearl_offline` beside soft actor-critic.

Rakelly et al. 2019. The update is that of `pearl_offline`; what differs is where its batches come from, the agent's own
recent episodes for the context and all of its episodes for the actor-critic (`macaw_jax.training.online`).
"""

from typing import Any

from macaw_jax.algorithms.arguments import passes_arguments_to
from macaw_jax.algorithms.pearl_offline import pearl_offline
from macaw_jax.types import Algorithm, Problem

OF_OTHER_CORES = (
  "core",
  "expectile",
  "temperature",
  "maximum_weight",
  "behaviour_penalty",
  "divergence_target",
  "maximum_penalty",
  "penalty_rate",
)


@passes_arguments_to(pearl_offline, but=OF_OTHER_CORES)
def pearl(problem: Problem, **arguments: Any) -> Algorithm:
  """PEARL with soft actor-critic; the arguments are those of `pearl_offline`, less those of the other cores.

  Raises:
    TypeError: for an unknown argument. ValueError: for one outside its range.
  """
  return pearl_offline(problem, core="sac", **arguments)
