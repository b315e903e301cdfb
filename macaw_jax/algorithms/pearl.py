"""PEARL, which collects its own data: the belief of `pearl_offline` beside soft actor-critic.

Rakelly et al. 2019. The update is that of `pearl_offline`; its batches come from elsewhere, the agent's own recent
episodes for the context and all of its episodes for the actor-critic (`macaw_jax.sources.replay`).
"""

from collections.abc import Sequence
from typing import Any

from macaw_jax.actor_critics import MakeActorCritic, sac
from macaw_jax.algorithms.contextual import MakeContextOptimizers, MakeEncoder, context_optimizers
from macaw_jax.algorithms.pearl_offline import belief_encoder, pearl_offline
from macaw_jax.learners.context import Step
from macaw_jax.learners.gradient_surgery import GradientSurgery
from macaw_jax.networks.latent import released_hidden_layer, released_networks
from macaw_jax.networks.soft_actor_critic import hard_bounds
from macaw_jax.types import Algorithm, Problem

# The released code: encoder and critics step first, then the state value and the policy against the new critics, at the
# latents of the encoder before its step.
RELEASED: dict[str, Any] = {
  "encoder": belief_encoder(
    hidden_sizes=(200, 200, 200), next_observation=False, inputs="raw", kl_weight=0.1, layer=released_hidden_layer
  ),
  "actor_critic": sac(
    hidden_sizes=(300, 300, 300), reward_scale=5.0, networks=released_networks(hard_bounds(-20.0, 2.0))
  ),
  "optimizer": context_optimizers(agent_learning_rate=3e-4, encoder_learning_rate=3e-4),
  "steps": (
    Step(("kl_loss", "critic_loss")),
    Step(("value_loss",), before=("encoder",)),
    Step(("policy_loss",), before=("encoder",)),
  ),
}


def pearl(
  problem: Problem,
  *,
  encoder: MakeEncoder = belief_encoder(kl_weight=0.1),
  actor_critic: MakeActorCritic = sac(),
  optimizer: MakeContextOptimizers = context_optimizers(),
  steps: Sequence[Step] = (),
  gradient_surgery: GradientSurgery | None = None,
) -> Algorithm:
  """`pearl_offline` with soft actor-critic, and the published weight of its divergence."""
  return pearl_offline(
    problem,
    encoder=encoder,
    actor_critic=actor_critic,
    optimizer=optimizer,
    steps=steps,
    gradient_surgery=gradient_surgery,
  )
