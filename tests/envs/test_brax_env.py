import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from brax.envs.wrappers.training import wrap
from brax.training.agents.ppo import networks
from brax.training.agents.ppo import train as ppo

from macaw_jax import envs
from macaw_jax.envs.brax_env import as_brax_env


def keys(num_episodes, seed=0):
  return jax.random.split(jax.random.PRNGKey(seed), num_episodes)


@pytest.fixture
def replicated(monkeypatch):
  """Gives Brax 0.14 the function of JAX that its agents call and that JAX 0.10 no longer has."""

  def device_put_replicated(tree, devices):
    return jax.tree.map(lambda x: jnp.stack([x] * len(devices)), tree)

  monkeypatch.setattr(jax, "device_put_replicated", device_put_replicated, raising=False)


def ppo_returns(env, num_timesteps, num_envs, learning_rate):
  """Mean returns of Brax's PPO before and after training."""
  returns = []
  network = functools.partial(
    networks.make_ppo_networks, policy_hidden_layer_sizes=(32, 32), value_hidden_layer_sizes=(32, 32)
  )
  ppo.train(
    env,
    num_timesteps=num_timesteps,
    episode_length=env.episode_length,
    num_envs=num_envs,
    num_eval_envs=num_envs,
    num_evals=2,
    unroll_length=20,
    batch_size=num_envs,
    num_minibatches=4,
    num_updates_per_batch=4,
    learning_rate=learning_rate,
    entropy_cost=0.0,
    discounting=0.9,
    normalize_observations=True,
    network_factory=network,
    progress_fn=lambda steps, metrics: returns.append(float(metrics["eval/episode_reward"])),
  )
  return returns


def test_an_episode_is_the_familys():
  family = envs.make("point_robot_wind")
  env = as_brax_env(family, tasks=7)
  assert (env.observation_size, env.action_size, env.episode_length, env.backend) == (2, 2, 25, "analytic")
  state = env.reset(jax.random.PRNGKey(0))
  np.testing.assert_array_equal(state.obs, [0, 0])
  assert (state.reward, state.done, state.info["task_index"]) == (0, 0, 7)
  state = env.step(env.step(state, jnp.array([1.0, 0.5])), jnp.array([0.0, -1.0]))
  position = 2 * family.tasks["wind"][7] + np.float32([0.1, -0.05])
  np.testing.assert_allclose(state.obs, position, atol=1e-6)
  assert state.reward == pytest.approx(-np.hypot(*(position - [1, 0])), abs=1e-6)
  assert state.done == 0


def test_actions_are_cut_to_one():
  env = as_brax_env(envs.make("point_robot_sparse"), tasks=0)
  state = env.step(env.reset(jax.random.PRNGKey(0)), jnp.array([7.0, -1.5]))
  np.testing.assert_allclose(state.obs, [0.1, -0.1], rtol=1e-6)


def test_a_reset_draws_a_task_uniformly():
  env = as_brax_env(envs.make("point_robot"), tasks=(3, 50, 99))
  state = jax.vmap(env.reset)(keys(3000))
  counts = np.bincount(state.info["task_index"], minlength=100)
  assert np.sum(counts[[3, 50, 99]]) == 3000
  np.testing.assert_allclose(counts[[3, 50, 99]], 1000, atol=130)  # five standard deviations
  np.testing.assert_array_equal(
    state.info["task"]["goal"], envs.make("point_robot").tasks["goal"][state.info["task_index"]]
  )


def test_the_training_tasks_are_the_default():
  state = jax.vmap(as_brax_env(envs.make("point_robot")).reset)(keys(3000))
  assert set(np.asarray(state.info["task_index"])) == set(range(80))


@pytest.mark.parametrize("tasks", [(), -1, 100, [0, 100]])
def test_tasks_that_the_family_does_not_have_are_refused(tasks):
  with pytest.raises(ValueError, match="point_robot: tasks:"):
    as_brax_env(envs.make("point_robot"), tasks)


def test_wrapped_episodes_are_cut_at_the_time_limit_and_begin_again_with_their_task():
  env = as_brax_env(envs.make("point_robot"))
  wrapped = wrap(env, episode_length=3)
  state = start = wrapped.reset(keys(4))
  step = jax.jit(wrapped.step)
  for t in range(3):
    np.testing.assert_array_equal(state.done, np.zeros(4), err_msg=f"step {t}")
    state = step(state, jnp.ones((4, 2)))
  np.testing.assert_array_equal(state.done, np.ones(4))
  np.testing.assert_array_equal(state.info["truncation"], np.ones(4))
  np.testing.assert_array_equal(state.obs, start.obs)
  state = step(state, jnp.ones((4, 2)))
  np.testing.assert_allclose(state.obs, start.obs + 0.1, atol=1e-6)
  np.testing.assert_array_equal(state.info["task_index"], start.info["task_index"])
  distance = np.linalg.norm(state.obs - start.info["task"]["goal"], axis=1)
  np.testing.assert_allclose(state.reward, -distance, atol=1e-6)


def test_an_end_by_the_task_is_no_truncation():
  family = envs.make("point_robot_sparse")._replace(terminal=lambda task, state: state[0] > 0.15)
  wrapped = wrap(as_brax_env(family), episode_length=20)
  state = wrapped.reset(keys(2))
  for done in (0, 1):
    state = wrapped.step(state, jnp.array([[1.0, 0.0], [0.0, 1.0]]))
    np.testing.assert_array_equal(state.done, [done, 0])
  np.testing.assert_array_equal(state.info["truncation"], [0, 0])


def test_mujoco_models_run_on_mjx():
  env = as_brax_env(envs.make("cheetah_vel"), tasks=(39,))
  assert env.backend == "mjx"
  state = jax.vmap(env.reset)(keys(2))
  assert state.obs.shape == (2, env.observation_size)
  np.testing.assert_allclose(state.info["task"]["velocity"], [3, 3], rtol=1e-6)


def test_ppo_learns_to_walk_to_a_goal(replicated):
  before, after = ppo_returns(as_brax_env(envs.make("point_robot"), tasks=3), 40_000, num_envs=32, learning_rate=1e-2)
  assert before < -15
  assert after > -11


@pytest.mark.slow
def test_ppo_learns_to_run_on_mjx(replicated):
  env = as_brax_env(envs.make("cheetah_dir"), tasks=0)
  before, after = ppo_returns(env, 6_400, num_envs=8, learning_rate=1e-3)
  assert after > before + 20


def test_a_brax_environment_of_an_analytic_family_actuates_once():
  def turn_round(task, action):
    return -action

  environment = as_brax_env(envs.make("point_robot_sparse")._replace(actuate=turn_round), tasks=0)
  state = environment.step(environment.reset(jax.random.key(0)), jnp.array([1.0, 3.0]))
  np.testing.assert_allclose(state.obs, [-0.1, -0.1], atol=1e-7)
