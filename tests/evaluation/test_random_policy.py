import jax
import jax.numpy as jnp
import numpy as np

from macaw_jax import envs
from macaw_jax.data.dataset import discounted_returns
from macaw_jax.envs.family import AnalyticDynamics, TaskFamily
from macaw_jax.evaluation.random_policy import TRANSITIONS_PER_SUPPORT, random_policy_dataset


def falling():
  """A height falls by one or, where the action is above zero, by two, and the episode ends at the ground."""
  return TaskFamily(
    name="falling",
    observation_size=1,
    action_size=1,
    horizon=8,
    tasks={"height": np.float32([1.0, 100.0])},
    train_tasks=(0,),
    test_tasks=(1,),
    dynamics=AnalyticDynamics(lambda task, state, action: state - 1.0 - (action[0] > 0.0)),
    reset=lambda task, key: task["height"],
    observe=lambda task, state: state[None],
    reward=lambda task, state, action, next_state: next_state,
    terminal=lambda task, state: state <= 0.0,
  )


def test_every_task_has_enough_transitions_where_episodes_end_early():
  family = falling()
  dataset = random_policy_dataset(family, family.tasks, discount=0.5, support_size=4)
  assert dataset.size.min() >= 4 * TRANSITIONS_PER_SUPPORT
  # The first task's episodes have one step each: as many rounds as that takes.
  np.testing.assert_array_equal(dataset.terminal[0, : dataset.size[0]], 1.0)
  np.testing.assert_array_equal(dataset.observation[0, : dataset.size[0], 0], 1.0)
  assert dataset.size[1] == 8 * dataset.size[0]
  np.testing.assert_array_equal(dataset.terminal[1], 0.0)


def test_it_is_made_as_loaded_data_are():
  family = falling()
  dataset = random_policy_dataset(family, family.tasks, discount=0.5, support_size=4)
  rewards, lengths = dataset.reward[1], np.full(dataset.size[1] // 8, 8)
  np.testing.assert_allclose(dataset.mc_return[1], discounted_returns(rewards, lengths, 0.5), rtol=1e-6)
  np.testing.assert_array_equal(np.flatnonzero(dataset.last[1]) % 8, 7)
  np.testing.assert_allclose(dataset.final_discount[1, :8], 0.5 ** np.arange(8.0, 0.0, -1.0))


def test_actions_are_uniform_and_not_the_same_in_two_tasks():
  family = envs.make("point_robot")
  tasks = jax.tree.map(lambda leaf: leaf[:3], family.tasks)
  dataset = random_policy_dataset(family, tasks, discount=0.9, support_size=100)
  assert dataset.action.shape == (3, 1120, 2)  # seven rounds of eight episodes, 20 steps each
  np.testing.assert_allclose(dataset.action.mean(axis=(1, 2)), 0.0, atol=0.06)
  np.testing.assert_allclose(dataset.action.var(axis=(1, 2)), 1 / 3, atol=0.03)
  assert not np.array_equal(dataset.action[0], dataset.action[1])
  for task in range(3):
    distance = np.linalg.norm(dataset.next_observation[task] - tasks["goal"][task], axis=-1)
    np.testing.assert_allclose(dataset.reward[task], -distance, atol=1e-5)


def test_a_larger_support_adds_episodes_to_the_same_ones():
  family = envs.make("point_robot")
  tasks = jax.tree.map(lambda leaf: leaf[:3], family.tasks)
  small, large = (random_policy_dataset(family, tasks, discount=0.9, support_size=size) for size in (10, 40))
  kept = small.reward.shape[1]
  assert kept < large.reward.shape[1]
  for name in ("observation", "action", "reward", "next_observation", "mc_return", "last"):
    np.testing.assert_array_equal(getattr(small, name), getattr(large, name)[:, :kept])


def test_native_episodes():
  family = envs.make("cheetah_dir")._replace(horizon=5)
  dataset = random_policy_dataset(family, family.tasks, discount=0.99, support_size=1)
  assert dataset.observation.shape == (2, 40, 20)
  assert jnp.isfinite(dataset.reward).all()
  assert dataset.reward.min() < 0 < dataset.reward.max()
