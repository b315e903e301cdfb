"""Actor-critics that see a latent task variable beside the observation, by name."""

import inspect
from collections.abc import Callable, Sequence

from macaw_jax.actor_critics.advantage_weighted import advantage_weighted_actor_critic
from macaw_jax.actor_critics.behaviour_regularised import behaviour_regularised_actor_critic
from macaw_jax.actor_critics.core import ActorCritic, LatentLoss
from macaw_jax.actor_critics.implicit_q_learning import implicit_q_learning
from macaw_jax.actor_critics.soft_actor_critic import soft_actor_critic
from macaw_jax.types import Problem

CORES: dict[str, Callable[..., ActorCritic]] = {
  "sac": soft_actor_critic,
  "iql": implicit_q_learning,
  "awac": advantage_weighted_actor_critic,
  "brac": behaviour_regularised_actor_critic,
}


def make_actor_critic(
  core: str,
  problem: Problem,
  *,
  latent_size: int,
  hidden_sizes: Sequence[int],
  reward_scale: float = 100.0,
  expectile: float = 0.8,
  temperature: float = 1.0,
  max_weight: float = 100.0,
  behaviour_penalty: float = 1.0,
  divergence_target: float | None = None,
  max_penalty: float = 2000.0,
  penalty_rate: float = 1.0,
) -> ActorCritic:
  """The actor-critic called `core`.

  An argument that it does not read is not checked either: a configuration lists those of all cores, so that a change
  of core is a change of one line.

  Args:
    core: 'sac', 'iql', 'awac' or 'brac'.
    problem: Sizes of the data, and the discount.
    latent_size: Size of the latent.
    hidden_sizes: Widths of the hidden layers of every network.
    reward_scale: Factor on the rewards of the Bellman target. Data are scaled such that returns have size one.
    expectile: Of the state values, in (0, 1). Read by 'iql'.
    temperature: By which advantages are divided in weights of rows. Read by 'iql' and 'awac'.
    max_weight: Upper bound of a row's weight. Read by 'iql'.
    behaviour_penalty: Factor on the divergence from the data, in units of the mean |Q|; with a divergence target, the
      factor to start from. Read by 'brac'.
    divergence_target: Divergence per state that an adaptive factor aims at; None keeps the ratio to |Q| fixed. Read by
      'brac'.
    max_penalty: Upper bound of an adaptive factor. Read by 'brac'.
    penalty_rate: Rate of an adaptive factor. Read by 'brac'.

  Raises:
    ValueError: for an unknown core, a latent without a size, or an argument of the core outside its range.
  """
  if core not in CORES:
    raise ValueError(f"core={core!r} is unknown; choose one of {', '.join(sorted(CORES))}")
  if latent_size < 1:
    raise ValueError(f"latent_size={latent_size} must be at least 1")
  arguments = {
    "reward_scale": reward_scale,
    "expectile": expectile,
    "temperature": temperature,
    "max_weight": max_weight,
    "behaviour_penalty": behaviour_penalty,
    "divergence_target": divergence_target,
    "max_penalty": max_penalty,
    "penalty_rate": penalty_rate,
  }
  factory = CORES[core]
  read = inspect.signature(factory).parameters
  own = {name: argument for name, argument in arguments.items() if name in read}
  return factory(problem, latent_size, hidden_sizes, **own)


def arguments_not_read_by(core: str) -> tuple[str, ...]:
  """The arguments of `make_actor_critic` that are for other cores alone."""
  read = inspect.signature(CORES[core]).parameters
  of_some = {name for factory in CORES.values() for name in inspect.signature(factory).parameters}
  return tuple(sorted(name for name in inspect.signature(make_actor_critic).parameters if name in of_some - set(read)))


__all__ = ["CORES", "ActorCritic", "LatentLoss", "arguments_not_read_by", "make_actor_critic"]
