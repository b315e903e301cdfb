"""PEARL, which collects its own data: the belief of `pearl_offline` beside soft actor-critic.

Rakelly et al. 2019. The update is that of `pearl_offline`; what differs is where its batches come from, the agent's own
recent episodes for the context and all of its episodes for the actor-critic (`macaw_jax.sources.replay`).
"""

from typing import Any

from macaw_jax.actor_critics import arguments_not_read_by
from macaw_jax.algorithms.arguments import passes_arguments_to
from macaw_jax.algorithms.pearl_offline import pearl_offline
from macaw_jax.types import Algorithm, Problem


@passes_arguments_to(pearl_offline, but=("core", "kl_weight", *arguments_not_read_by("sac")))
def pearl(problem: Problem, *, kl_weight: float = 0.1, **arguments: Any) -> Algorithm:
  """PEARL with soft actor-critic.

  Args:
    problem: Sizes and discount of the data.
    kl_weight: lambda, as published.
    **arguments: Those of `pearl_offline`, less those of the other cores.

  Raises:
    TypeError: for an unknown argument. ValueError: for one outside its range.
  """
  return pearl_offline(problem, core="sac", kl_weight=kl_weight, **arguments)
