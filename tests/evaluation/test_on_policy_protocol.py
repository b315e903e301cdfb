"""The episodes of an on-policy agent in a new task, and which of them count."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from macaw_jax import envs
from macaw_jax.algorithms import maml_rl, norml, policy_gradient_inner
from macaw_jax.collection.on_policy import experience_task
from macaw_jax.data.statistics import no_scaling
from macaw_jax.envs.family import AnalyticDynamics, TaskFamily
from macaw_jax.envs.sampled_rollout import make_sampled_rollout
from macaw_jax.evaluation.on_policy import make_on_policy_protocol
from macaw_jax.types import Algorithm, Problem

KEY = jax.random.key(0)
HORIZON, SUPPORT = 3, 4


def till():
  """A till that is paid what the action says, and the task's tens a step; how it started is what it shows."""
  return TaskFamily(
    name="till",
    observation_size=1,
    action_size=1,
    horizon=HORIZON,
    tasks={"tens": np.float32([0.0, 10.0, 20.0])},
    train_tasks=(0,),
    test_tasks=(1, 2),
    dynamics=AnalyticDynamics(lambda task, state, action: state),
    reset=lambda task, key: jax.random.uniform(key),
    observe=lambda task, state: state[None],
    reward=lambda task, state, action, after: task["tens"] + action[0],
    terminal=lambda task, state: jnp.array(False),
  )


def counting(reads_reward=True):
  """Acts by the tenths of what it has adapted to: -0.5 at first, then the number of sets of episodes it was given."""

  def adapt(params, support, key):
    assert support.mask.shape[1:] == (SUPPORT, HORIZON)
    assert (support.reward is not None) == reads_reward
    return {"belief": jnp.asarray(0.1 * len(support.mask))}

  def act(params, task, timestep, key):
    assert key is not None  # A sample, never the mode.
    return task["belief"][None] + 0.0 * timestep.observation, task

  prior = lambda params, key: {"belief": jnp.asarray(-0.5)}  # noqa: E731
  return Algorithm(lambda key: None, lambda *_: None, adapt, act, prior, reads_reward)


@pytest.mark.parametrize("adaptation_steps", [1, 3])
@pytest.mark.parametrize("reads_reward", [True, False])
def test_a_stage_is_episodes_of_the_agent_adapted_to_the_sets_before_it(adaptation_steps, reads_reward):
  family, algorithm = till(), counting(reads_reward)
  evaluate = make_on_policy_protocol(
    algorithm, family, support_episodes=SUPPORT, num_episodes=2, adaptation_steps=adaptation_steps
  )
  found = evaluate({}, no_scaling(1), family.tasks, KEY)
  beliefs = np.array([-0.5, 0.1, 0.2, 0.3])[: adaptation_steps + 1]
  expected = HORIZON * (np.array([0.0, 10.0, 20.0])[:, None, None] + beliefs)
  np.testing.assert_allclose(found.returns, np.broadcast_to(expected, (3, 2, adaptation_steps + 1)), rtol=1e-5)
  assert found.returns.dtype == np.float64
  assert found.states.shape == (3, HORIZON + 1)


def test_each_set_of_episodes_is_acted_by_the_agent_adapted_so_far():
  family, algorithm = till(), counting()
  experience = experience_task(
    algorithm,
    make_sampled_rollout(family, algorithm.act),
    {},
    {"tens": jnp.array(0.0)},
    KEY,
    num_episodes=SUPPORT,
    adaptation_steps=3,
  )
  assert experience.support.mask.shape == (3, SUPPORT, HORIZON)
  acted = np.asarray(experience.support.action)[..., 0]
  np.testing.assert_allclose(acted, np.broadcast_to(np.array([-0.5, 0.1, 0.2])[:, None, None], acted.shape))
  np.testing.assert_allclose(experience.returns, HORIZON * acted[..., 0], rtol=1e-6)
  np.testing.assert_allclose(experience.adapted["belief"], 0.3)
  starts = np.asarray(experience.support.observation)[:, :, 0, 0]
  assert len(set(starts.ravel())) == 3 * SUPPORT  # Every episode is a new one.


def test_more_episodes_before_than_adaptation_sees_are_refused():
  algorithm = counting()
  with pytest.raises(ValueError, match="num_episodes=5"):
    make_on_policy_protocol(algorithm, till(), support_episodes=4, num_episodes=5)


PROBLEM = Problem(observation_size=2, action_size=2, num_tasks=5000, discount=0.9)


@pytest.mark.parametrize(
  ("make", "adaptation_steps"),
  [
    (partial(norml, hidden_sizes=(4,), advantage_hidden_sizes=(4,), step_size=0.5), 1),
    (partial(norml, hidden_sizes=(4,), advantage_hidden_sizes=(4,), step_size=0.5, learned_advantage=False), 1),
    (partial(maml_rl, inner=policy_gradient_inner(hidden_sizes=(4,), step_size=0.5)), 2),
  ],
  ids=["norml", "maml", "maml_rl"],
)
def test_an_agent_is_evaluated_as_by_hand_from_the_same_keys(make, adaptation_steps):
  family, algorithm = envs.make("point_rotated"), make(PROBLEM)
  tasks = {"angle": jnp.array([0.5, -2.0])}
  params = algorithm.init(KEY).params
  rollout = make_sampled_rollout(family, algorithm.act)
  evaluate = make_on_policy_protocol(
    algorithm, family, support_episodes=SUPPORT, num_episodes=3, adaptation_steps=adaptation_steps
  )
  found = evaluate(params, no_scaling(2), tasks, KEY).returns
  assert found.shape == (2, 3, adaptation_steps + 1)

  act, adapt = jax.jit(rollout, static_argnums=4), jax.jit(algorithm.adapt)
  for index, key in enumerate(jax.random.split(KEY, 2)):
    task = jax.tree.map(lambda leaf, index=index: leaf[index], tasks)
    key_experience, key_episodes = jax.random.split(key)
    _, key_adapt, *keys = jax.random.split(key_experience, 2 + adaptation_steps)
    adapted, sets = {}, []
    for key_set in keys:
      sets.append(act(params, adapted, task, key_set, SUPPORT))
      support = jax.tree.map(lambda *leaves: jnp.stack(leaves), *sets)
      support = support if algorithm.reads_reward else support._replace(reward=None)
      adapted = adapt(params, support, key_adapt)
    after = act(params, adapted, task, key_episodes, 3)
    for stage, episodes in enumerate((*sets, after)):
      np.testing.assert_allclose(found[index, :, stage], episodes.reward.sum(axis=-1)[:3], rtol=1e-3)
