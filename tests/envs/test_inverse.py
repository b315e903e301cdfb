"""The state that an observation shows: found where `observe` is an affine map of the state with an inverse."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from macaw_jax import envs
from macaw_jax.envs.family import AnalyticDynamics
from macaw_jax.envs.inverse import with_state_of


def family_with(observe, size=2):
  """A point whose state is a place and a speed, under an `observe`."""
  return envs.make("point_robot")._replace(
    observation_size=size,
    dynamics=AnalyticDynamics(lambda task, state, action: state),
    reset=lambda task, key: {"place": jax.random.normal(key), "speed": jnp.ones(())},
    observe=observe,
    state_of=None,
  )


@pytest.mark.parametrize(
  "observe",
  [
    lambda task, state: jnp.stack([state["speed"], state["place"]]),
    lambda task, state: jnp.stack([state["speed"] - state["place"], 3.0 * state["place"] + 1.0]),
  ],
)
def test_a_state_that_is_all_shown_is_found(observe):
  family = with_state_of(family_with(observe))
  state = {"place": jnp.array(0.3), "speed": jnp.array(-0.7)}
  found = family.state_of({}, observe({}, state))
  jax.tree.map(lambda ours, theirs: np.testing.assert_allclose(ours, theirs, rtol=1e-5), found, state)


@pytest.mark.parametrize(
  ("observe", "size"),
  [
    (lambda task, state: state["place"][None], 1),  # a speed that nothing shows
    (lambda task, state: jnp.stack([state["place"], 2.0 * state["place"]]), 2),
    (lambda task, state: jnp.stack([jnp.sin(state["place"]), state["speed"]]), 2),
    (lambda task, state: jnp.stack([state["place"] - task["goal"][0], state["speed"]]), 2),
  ],
  ids=["fewer numbers", "the same number twice", "no affine map", "relative to the task"],
)
def test_nothing_is_found_where_an_observation_does_not_show_it(observe, size):
  assert with_state_of(family_with(observe, size)).state_of is None


def test_what_a_family_says_itself_stays():
  family = envs.make("point_robot")
  assert with_state_of(family) is family
