"""PEARL, which collects its own data: the belief of `pearl_offline` beside soft actor-critic.

Rakelly et al. 2019. The update is that of `pearl_offline`; its batches come from elsewhere, the agent's own recent
episodes for the context and all of its episodes for the actor-critic (`macaw_jax.sources.replay`).
"""

from macaw_jax.actor_critics import MakeActorCritic, sac
from macaw_jax.algorithms.contextual import MakeContextOptimizers, MakeEncoder, context_optimizers
from macaw_jax.algorithms.pearl_offline import belief_encoder, pearl_offline
from macaw_jax.types import Algorithm, Problem


def pearl(
  problem: Problem,
  *,
  encoder: MakeEncoder = belief_encoder(kl_weight=0.1),
  actor_critic: MakeActorCritic = sac(),
  optimizer: MakeContextOptimizers = context_optimizers(),
) -> Algorithm:
  """`pearl_offline` with soft actor-critic, and the published weight of its divergence."""
  return pearl_offline(problem, encoder=encoder, actor_critic=actor_critic, optimizer=optimizer)
