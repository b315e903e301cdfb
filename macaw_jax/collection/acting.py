"""How agents act in environments: on time steps as these come, before they have data, and at random."""

from collections.abc import Callable
from typing import Any

import jax

from macaw_jax.data.statistics import Statistics, normalise_observation
from macaw_jax.envs.rollout import Act
from macaw_jax.types import Algorithm, Array, Key, Params, TimeStep


def act_on_raw_timesteps(act: Act) -> Act:
  """`act` for time steps as an environment gives them: scales observation and reward as the run's data are scaled.

  Its parameters are a pair `(params, statistics)`, so that one compiled program serves any statistics.
  """

  def scaled(params: tuple[Params, Statistics], adapted: Any, timestep: TimeStep, key: Key | None) -> tuple[Array, Any]:
    params, statistics = params
    timestep = timestep._replace(
      observation=normalise_observation(statistics, timestep.observation),
      reward=timestep.reward / statistics.return_scale,
    )
    return act(params, adapted, timestep, key)

  return scaled


def make_draw_priors(algorithm: Algorithm) -> Callable[[Params, Key], dict[str, Params]]:
  """The agent before there are data: `(params, keys [N]) -> adapted [N, ...]`, one draw of its prior an episode."""
  return jax.jit(jax.vmap(algorithm.prior, in_axes=(None, 0)))


def uniform_act(params: Any, adapted: Any, timestep: TimeStep, key: Key, *, action_size: int) -> tuple[Array, Any]:
  """Acts uniformly at random in [-1, 1]^A."""
  return jax.random.uniform(key, (action_size,), minval=-1.0, maxval=1.0), adapted
