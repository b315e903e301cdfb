"""Actor-critics that see a latent task variable beside the observation, by name: values, each with its settings."""

from collections.abc import Callable

from macaw_jax.actor_critics.actor_critic import ActorCritic, MakeActorCritic
from macaw_jax.actor_critics.advantage_weighted import awac
from macaw_jax.actor_critics.behaviour_regularised import brac
from macaw_jax.actor_critics.implicit_q_learning import iql
from macaw_jax.actor_critics.soft_actor_critic import sac
from macaw_jax.actor_critics.tempered_soft_actor_critic import tempered_sac
from macaw_jax.actor_critics.twin_soft_actor_critic import twin_sac

ACTOR_CRITICS: dict[str, Callable[..., MakeActorCritic]] = {
  "sac": sac,
  "iql": iql,
  "awac": awac,
  "brac": brac,
  "twin_sac": twin_sac,
  "tempered_sac": tempered_sac,
}

__all__ = ["ACTOR_CRITICS", "ActorCritic", "MakeActorCritic", "awac", "brac", "iql", "sac", "tempered_sac", "twin_sac"]
