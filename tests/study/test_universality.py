"""Without the advantage head the inner gradient cannot tell a better action from one farther away; with it, it can."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from macaw_jax.study.universality import OBSERVATION_SIZE, collision, decoding, inner_gradients, make_policy


@pytest.mark.parametrize("seed", range(3))
def test_two_transitions_have_one_gradient_without_the_head_and_two_with_it(seed):
  key_params, key_state = jax.random.split(jax.random.key(seed))
  observation = jax.random.normal(key_state, (OBSERVATION_SIZE,))
  apart = {}
  for head in (False, True):
    policy = make_policy(head=head)
    params = jax.jit(policy.init)(key_params)
    first, second = inner_gradients(policy, params, observation, *collision(policy, params, observation))
    apart[head] = float(jnp.linalg.norm(first - second) / jnp.linalg.norm(first))
  assert apart[False] < 1e-5
  assert apart[True] > 1e-2


def test_the_head_lets_action_and_advantage_be_read_off_the_gradient():
  with_head = [decoding(head=True, key=jax.random.key(seed)) for seed in range(3)]
  without = [decoding(head=False, key=jax.random.key(seed)) for seed in range(3)]
  assert np.min(with_head) > 0.95
  assert np.max([each.advantage for each in without]) < 0.6
