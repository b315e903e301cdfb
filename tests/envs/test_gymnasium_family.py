"""Environments of Gymnasium as a family: tasks, spaces, ends and seeds, alone and side by side."""

import functools
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

gymnasium = pytest.importorskip("gymnasium")

from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv  # noqa: E402
from gymnasium.wrappers import FlattenObservation  # noqa: E402
from small_gymnasium import TASKS, Countdown, Countdowns  # noqa: E402

from macaw_jax import gymnasium_family  # noqa: E402
from macaw_jax.envs.brax_env import as_brax_env  # noqa: E402
from macaw_jax.envs.check import check_family  # noqa: E402
from macaw_jax.envs.rollout import make_rollout  # noqa: E402
from macaw_jax.envs.sampled_rollout import make_sampled_rollout  # noqa: E402
from macaw_jax.envs.variants import with_time_to_go  # noqa: E402
from macaw_jax.errors import ConfigurationError  # noqa: E402

KEY = jax.random.key(0)


def act(params, adapted, timestep, key):
  """A constant, or a draw."""
  action = jnp.full(1, params)
  return (action if key is None else jax.random.uniform(key, (1,), minval=-1.0)), adapted


def family_of(env=Countdown, **changes):
  return gymnasium_family(env, TASKS, **{"test_tasks": (2,), "horizon": 5} | changes)


def episodes(family, indices=(0, 1, 2), action=0.0, deterministic=True, act=act):
  tasks = {name: values[np.array(indices)] for name, values in family.tasks.items()}
  return make_rollout(family, act)(jnp.float32(action), {}, tasks, KEY, deterministic=deterministic)


def same(one, other):
  jax.tree.map(np.testing.assert_array_equal, one, other)


def test_episodes_by_hand():
  family = check_family(family_of(), "a file")
  assert (family.observation_size, family.action_size, family.train_tasks) == (2, 1, (0, 1))
  found = episodes(family)  # an action of 0 stands for 2, the middle of the space
  np.testing.assert_array_equal(found.mask, [[1, 1, 1, 0, 0], [1, 1, 1, 1, 0], [1] * 5])
  np.testing.assert_array_equal(found.terminal, [[0, 0, 1, 0, 0], [0, 0, 0, 1, 0], [0] * 5])
  first = found.observation[:, 0, 0]
  assert np.all((first >= TASKS["start"]) & (first < TASKS["start"] + 1.0))
  left = first[:, None] - 2.0 * np.arange(1, 6)
  np.testing.assert_allclose(found.next_observation[..., 0], left * found.mask, atol=1e-5)
  np.testing.assert_allclose(found.observation[..., 0], (left + 2.0) * found.mask, atol=1e-5)
  np.testing.assert_allclose(found.reward, left * found.mask, atol=1e-5)
  np.testing.assert_allclose(found.observation[..., 1], TASKS["floor"][:, None] * found.mask)
  assert found.state is None
  assert {leaf.dtype.name for leaf in jax.tree.leaves(found)} == {"float32"}


def test_actions_are_scaled_and_cut_to_the_bounds():
  found = episodes(family_of(), indices=(2,), action=-1.0)
  np.testing.assert_allclose(found.observation[0, 0, 0] - found.next_observation[0, 0, 0], 1.0, atol=1e-5)
  found = episodes(family_of(), indices=(2,), action=7.0)
  np.testing.assert_allclose(found.observation[0, 0, 0] - found.next_observation[0, 0, 0], 3.0, atol=1e-5)
  np.testing.assert_array_equal(found.action[0, :, 0], np.ones(5))


def test_a_limit_of_the_environment_ends_an_episode_and_not_its_task():
  family = gymnasium_family(Countdown, {"start": np.array([53.0]), "floor": np.zeros(1)}, test_tasks=(0,), horizon=5)
  found = make_rollout(family, act)(jnp.float32(0.0), {}, family.tasks, KEY)
  # 53 and a noise below one: 51 and more after a step, which is truncated.
  np.testing.assert_array_equal(found.mask, [[1, 0, 0, 0, 0]])
  assert not found.terminal.any()


def test_an_agent_sees_action_reward_and_first_of_the_step_before():
  def remember(params, adapted, timestep, key):
    return 0.1 * timestep.reward[None] + timestep.first, adapted + timestep.action[0]

  family = family_of()
  tasks = {name: values[:1] for name, values in family.tasks.items()}
  found = make_rollout(family, remember)({}, jnp.zeros(1), tasks, KEY)
  np.testing.assert_allclose(found.action[0, 0, 0], 1.0)
  np.testing.assert_allclose(found.action[0, 1, 0], np.clip(0.1 * found.reward[0, 0], -1, 1), rtol=1e-6)


def test_an_episode_follows_from_the_key_and_its_number_alone():
  family = family_of(num_envs=3)
  found = episodes(family, indices=(0, 1, 2, 1, 0, 1, 2), deterministic=False)  # three rounds, the last with one
  same(found, episodes(family, indices=(0, 1, 2, 1, 0, 1, 2), deterministic=False))
  same(found, episodes(family_of(num_envs=32), indices=(0, 1, 2, 1, 0, 1, 2), deterministic=False))
  same(jax.tree.map(lambda leaf: leaf[:2], found), episodes(family, indices=(0, 1), deterministic=False))
  assert found.observation[0, 0, 0] != found.observation[4, 0, 0]  # the same task, another seed


def told_by_attributes(env, task):
  env.unwrapped.start, env.unwrapped.floor = task["start"], task["floor"]


@pytest.mark.parametrize("set_task", ["attributes", told_by_attributes])
def test_a_task_is_told_in_three_ways(set_task):
  wrapped = functools.partial(lambda: FlattenObservation(Countdown()))
  same(episodes(family_of(wrapped, set_task=set_task)), episodes(family_of()))


MODES = [(SyncVectorEnv, mode, set_task) for mode in AutoresetMode for set_task in ("options", "attributes")]


@pytest.mark.parametrize(("kind", "mode", "set_task"), [*MODES, (AsyncVectorEnv, AutoresetMode.SAME_STEP, "options")])
def test_separate_environments_of_a_vector_are_the_same_in_every_mode(kind, mode, set_task):
  indices = (0, 1, 2, 0, 1)  # two rounds of three, in the second the last environment repeats
  options = {"context": "spawn"} if kind is AsyncVectorEnv else {}  # a fork of a process with threads may wait for ever
  family = family_of(lambda: kind([Countdown] * 3, autoreset_mode=mode, **options), set_task=set_task)
  same(episodes(family, indices, deterministic=False), episodes(family_of(), indices, deterministic=False))


@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_a_vector_environment_of_its_own_kind_is_told_the_tasks_of_all(mode):
  found = episodes(family_of(lambda: Countdowns(mode)), indices=(0, 1, 2, 0, 1))
  np.testing.assert_array_equal(found.mask.sum(axis=1), [2, 4, 5, 2, 4])  # no noise: 4, 2, 0
  np.testing.assert_array_equal(found.next_observation[0, :, 0], [2, 0, 0, 0, 0])
  np.testing.assert_array_equal(found.reward[1], [7, 5, 3, 1, 0])
  np.testing.assert_array_equal(found.terminal[1], [0, 0, 0, 1, 0])


def test_time_to_go_is_shown_beside_an_observation():
  found = episodes(with_time_to_go(family_of()))
  assert found.observation.shape == (3, 5, 3)
  np.testing.assert_allclose(found.observation[2, :, -1], [1.0, 0.8, 0.6, 0.4, 0.2], rtol=1e-6)
  np.testing.assert_allclose(found.next_observation[2, :, -1], [0.8, 0.6, 0.4, 0.2, 0.0], atol=1e-7)
  plain = episodes(family_of())
  np.testing.assert_array_equal(found.observation[..., :-1], plain.observation)


def test_pendulums_of_gymnasium_differ_in_an_attribute():
  gravities = np.array([0.0, 10.0])
  family = gymnasium_family("Pendulum-v1", {"g": gravities}, test_tasks=(1,), set_task="attributes")
  assert (family.horizon, family.observation_size, family.action_size) == (200, 3, 1)
  found = make_rollout(family._replace(horizon=2), act)(jnp.float32(0.0), {}, family.tasks, KEY)
  # Without torque the speed changes by 3 g / (2 l) sin(angle) 0.05.
  change = found.next_observation[:, 0, 2] - found.observation[:, 0, 2]
  np.testing.assert_allclose(change, 0.075 * gravities * found.observation[:, 0, 1], atol=1e-5)


def test_tasks_that_do_not_reach_the_environment_are_said(capsys):
  gymnasium_family("Pendulum-v1", {"g": np.array([5.0, 10.0])}, test_tasks=(1,), set_task="attributes")
  assert capsys.readouterr().out == ""
  gymnasium_family("Pendulum-v1", {"g": np.array([5.0, 10.0])}, test_tasks=(1,), set_task="options")
  (line,) = capsys.readouterr().out.splitlines()
  assert line.startswith("WARNING: <TimeLimit<")
  assert "its first and its last task are the same for 25 steps" in line


@pytest.mark.parametrize(
  ("arguments", "line"),
  [
    ({"env": "CartPole-v1"}, "its action space is Discrete(2); expected a Box with finite bounds"),
    ({"env": "FrozenLake-v1"}, "its observation space is Discrete(16); expected a Box"),
    ({"env": lambda: 3}, "env gives 3; expected a gymnasium.Env or a gymnasium.vector.VectorEnv"),
    ({"env": Countdown, "set_task": "info"}, "set_task is 'info'; expected 'options', 'attributes' or a function"),
    ({"env": Countdown, "horizon": None}, "horizon is None; expected the most steps of an episode"),
    ({"env": "Pendulum-v1", "set_task": "attributes"}, "tasks['start']: <TimeLimit<"),
    (
      {"env": lambda: SyncVectorEnv([Countdown]), "set_task": "attributes", "tasks": {"size": np.zeros(3)}},
      "tasks['size']: SyncVectorEnv(num_envs=1) has no attribute of that name to set",
    ),
    ({"env": lambda: Countdowns(None)}, "metadata['autoreset_mode'] of its VectorEnv is None; expected one of"),
  ],
)
def test_what_cannot_be_a_family_is_refused(arguments, line):
  with pytest.raises(ConfigurationError) as raised:
    gymnasium_family(**{"tasks": TASKS, "test_tasks": (2,), "horizon": 5} | arguments)
  assert str(raised.value).startswith(line)


@pytest.mark.parametrize(
  "use",
  [
    lambda family: make_sampled_rollout(family, act),
    lambda family: make_rollout(family, act, "mjx"),
    as_brax_env,
  ],
)
def test_a_compiled_program_cannot_hold_it(use):
  with pytest.raises(ConfigurationError, match=r"^family 'Countdown' has environments of Gymnasium, which no compiled"):
    use(family_of())


def test_the_functions_of_the_family_refuse_to_be_called():
  with pytest.raises(ConfigurationError, match="no function gives them from states"):
    family_of().reward({}, None, None, None)


def test_without_the_package_the_extra_is_named(monkeypatch):
  monkeypatch.setitem(sys.modules, "gymnasium", None)
  with pytest.raises(ConfigurationError, match=r'pip install "macaw_jax\[gymnasium\]"'):
    family_of()
