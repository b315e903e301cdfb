import jax
import jax.numpy as jnp
import numpy as np
import pytest

from macaw_jax import envs
from macaw_jax.data.dataset import discounted_returns
from macaw_jax.data.statistics import Statistics, no_scaling
from macaw_jax.envs.family import AnalyticDynamics, TaskFamily
from macaw_jax.evaluation.online import make_online_protocol, num_rows
from macaw_jax.losses.values import td_lambda_returns
from macaw_jax.types import Algorithm

# Far from zero and one, so that a forgotten or doubled scaling cannot pass.
STATISTICS = Statistics(np.array([10.0, -5.0], np.float32), np.array([4.0, 0.5], np.float32), np.float32(8.0))
DISCOUNT = 0.5
HORIZON = 4


def counter(end=100.0):
  """A number grows by 2 + the action a step; it begins within 1 above the task's tens, and is the reward."""
  return TaskFamily(
    name="counter",
    observation_size=2,
    action_size=1,
    horizon=HORIZON,
    tasks={"tens": np.float32([10.0, 20.0, 30.0])},
    train_tasks=(0,),
    test_tasks=(1, 2),
    dynamics=AnalyticDynamics(lambda task, state, action: state + 2.0 + action[0]),
    reset=lambda task, key: task["tens"] + jax.random.uniform(key),
    observe=lambda task, state: jnp.stack([state, task["tens"]]),
    reward=lambda task, state, action, next_state: next_state,
    terminal=lambda task, state: state - task["tens"] > end,
  )


class Watched:
  """Acts by a number drawn from the prior in [-1, 0), after adaptation by one above it; keeps what `adapt` is given."""

  def __init__(self):
    self.supports = []  # of every repetition and number of episodes
    self.traces = 0

  def protocol(self, family, repetitions=3, support_parts=1, **options):
    def adapt(params, support, key):
      self.traces += 1
      jax.debug.callback(lambda support: self.supports.append(jax.tree.map(np.asarray, support)), support)
      return {"belief": 0.25 + 0.5 * jax.random.uniform(key)}

    def act(params, task, timestep, key):
      noise = 0.0 if key is None else 0.01 * jax.random.normal(key)
      return (task["belief"] + noise)[None], task

    algorithm = Algorithm(None, None, adapt, act, prior=lambda params, key: {"belief": -jax.random.uniform(key)})
    algorithm = algorithm._replace(support_parts=support_parts)
    evaluate = make_online_protocol(algorithm, family, discount=DISCOUNT, num_repetitions=repetitions, **options)

    def run(seed=0):
      evaluation = evaluate({}, STATISTICS, family.tasks, jax.random.key(seed))
      jax.effects_barrier()
      return evaluation

    return run

  def of(self, rows):
    """Supports of this many rows."""
    return [support for support in self.supports if len(support.reward) == rows]


def raw(support):
  """Observations [B, 2] as the family gave them."""
  return support.observation * STATISTICS.observation_std + STATISTICS.observation_mean


def actions_by_episode(support):
  """The constant action of each episode, told to float32's accuracy."""
  return support.action.reshape(-1, HORIZON)


def test_two_prior_episodes_and_one_after_adaptation_to_both():
  watched = Watched()
  evaluation = watched.protocol(counter(), num_episodes=2, exploration_episodes=2)()
  assert watched.traces == 1
  assert [len(support.reward) for support in watched.supports] == [2 * HORIZON] * 9  # each of 3 x 3 once
  assert evaluation.returns.shape == (3, 3, 3)
  for support in watched.supports:
    first, second = actions_by_episode(support)
    assert len(set(first.tolist())) == len(set(second.tolist())) == 1  # one draw of the prior an episode
    assert first[0] != second[0]
    assert first[0] <= 0.0
    assert second[0] <= 0.0


def test_each_adaptation_is_to_all_episodes_so_far_and_compiled_once():
  watched = Watched()
  run = watched.protocol(counter(), num_episodes=3)
  run()
  run(seed=1)
  assert watched.traces == 3
  assert sorted(len(support.reward) for support in watched.supports) == [4] * 18 + [8] * 18 + [12] * 18
  shorter = {support.action.tobytes() for support in watched.of(8)}
  for support in watched.of(12):
    assert support.action[:8].tobytes() in shorter
    signs = np.sign(actions_by_episode(support))[:, 0]
    np.testing.assert_array_equal(signs, [-1.0, 1.0, 1.0])  # the prior acts once


def test_repetitions_and_tasks_do_not_mix():
  watched = Watched()
  evaluation = watched.protocol(counter(), num_episodes=2)()
  supports = watched.of(8)
  tens = [set(np.round(raw(support)[:, 1]).tolist()) for support in supports]
  assert sorted(map(tuple, tens)) == [(10.0,)] * 3 + [(20.0,)] * 3 + [(30.0,)] * 3
  assert len({support.action.tobytes() for support in supports}) == 9
  # What a support holds is what was scored: episodes 0 and 1, undiscounted.
  held = [support.reward.reshape(2, HORIZON).sum(axis=1) * STATISTICS.return_scale for support in supports]
  scored = evaluation.returns[..., :2].reshape(-1, 2)
  np.testing.assert_allclose(sorted(map(tuple, held)), sorted(map(tuple, scored)), rtol=1e-5)


def test_a_support_has_all_fields_of_loaded_data():
  watched = Watched()
  watched.protocol(counter(), num_episodes=1)()
  for support in watched.supports:
    observation, reward = raw(support), support.reward * STATISTICS.return_scale
    steps = 2.0 + support.action[:, 0]
    np.testing.assert_allclose(np.diff(observation[:, 0]), steps[:-1], atol=1e-5)
    np.testing.assert_allclose(reward, observation[:, 0] + steps, rtol=1e-5)
    scaled_step = np.stack([steps / 4.0, np.zeros(HORIZON)], axis=1)
    np.testing.assert_allclose(support.next_observation, support.observation + scaled_step, atol=1e-4)
    np.testing.assert_allclose(
      support.final_observation, np.broadcast_to(support.next_observation[-1], (HORIZON, 2)), atol=1e-5
    )
    np.testing.assert_allclose(support.final_discount, [0.0625, 0.125, 0.25, 0.5])
    np.testing.assert_array_equal(support.last, [0, 0, 0, 1])
    np.testing.assert_array_equal(support.terminal, 0.0)
    expected = discounted_returns(reward, np.array([HORIZON]), DISCOUNT) / STATISTICS.return_scale
    np.testing.assert_allclose(support.mc_return, expected, rtol=1e-5)
    np.testing.assert_array_equal(support.mask, 1.0)


def test_an_episode_that_ends_early_fills_its_place_with_its_own_rows_that_do_not_count():
  watched = Watched()
  evaluation = watched.protocol(counter(end=4.0), num_episodes=2)()
  for support in watched.of(8):
    start, tens = raw(support)[0]
    length = int(np.argmax(support.last[:HORIZON])) + 1
    assert length in (2, 3, 4)
    assert support.terminal[length - 1] == 1.0
    assert start + length * (2.0 + support.action[0, 0]) - tens > 4.0
    again = np.arange(HORIZON) % length
    np.testing.assert_array_equal(support.mask[:HORIZON], np.arange(HORIZON) < length)
    for values in support._replace(last=support.terminal, mask=support.terminal):
      np.testing.assert_array_equal(values[:HORIZON], values[again])
    np.testing.assert_array_equal(support.final_discount[:HORIZON], 0.0)
    # The next row belongs to another episode, wherever the copy is cut.
    np.testing.assert_array_equal(support.last[:HORIZON], (again == length - 1) | (np.arange(HORIZON) == HORIZON - 1))
  assert any(support.last[: HORIZON - 1].any() and not support.terminal[HORIZON - 1] for support in watched.of(8))
  assert np.isfinite(evaluation.returns).all()


def test_td_lambda_returns_of_an_episode_do_not_depend_on_the_next():
  watched = Watched()
  watched.protocol(counter(end=4.0), num_episodes=2)()
  for support in watched.of(8):
    values = jnp.arange(8.0)

    def returns(reward, support=support, values=values):
      return td_lambda_returns(reward, DISCOUNT * (1.0 - support.terminal), values, support.last, 0.9)[:HORIZON]

    changed = support.reward + 100.0 * (np.arange(8) >= HORIZON)
    np.testing.assert_array_equal(returns(support.reward), returns(changed))


def test_the_key_decides():
  run = Watched().protocol(counter(), num_episodes=1)
  one, same, other = run(1), run(1), run(2)
  np.testing.assert_array_equal(one.returns, same.returns)
  assert (one.returns != other.returns).all()


def test_sampled_actions_are_asked_for():
  watched = Watched()
  watched.protocol(counter(), num_episodes=1, deterministic=False)()
  assert all(len(set(support.action[:, 0].tolist())) == HORIZON for support in watched.supports)


def test_parts_of_a_support_are_equal():
  assert [num_rows(200, k, 3) for k in (1, 2, 3)] == [198, 399, 600]
  watched = Watched()
  watched.protocol(counter(), num_episodes=2, support_parts=3)()
  assert {len(support.reward) for support in watched.supports} == {3, 6}


@pytest.mark.parametrize(
  ("options", "named"),
  [
    ({"exploration_episodes": 0}, "exploration_episodes: expected 1 to 5"),
    ({"exploration_episodes": 3, "num_episodes": 2}, "exploration_episodes: expected 1 to 2"),
    ({"support_parts": 5}, "support_parts: expected at most the 4"),
  ],
)
def test_wrong_arguments_are_refused(options, named):
  with pytest.raises(ValueError, match=named):
    Watched().protocol(counter(), **options)


def test_it_works_on_native_mujoco():
  family = envs.make("cheetah_dir")._replace(horizon=6)
  statistics = no_scaling(family.observation_size)
  algorithm = Algorithm(
    None,
    None,
    adapt=lambda params, support, key: {"push": jnp.sign(support.mc_return[0])},
    act=lambda params, task, timestep, key: (task["push"] * jnp.ones(6), task),
    prior=lambda params, key: {"push": jax.random.uniform(key)},
  )
  protocol = make_online_protocol(algorithm, family, discount=0.99, num_repetitions=2, num_episodes=2)
  evaluation = protocol({}, statistics, family.tasks, jax.random.key(0))
  assert evaluation.returns.shape == (2, 2, 3)
  assert evaluation.states.qpos.shape == (2, 7, 9)
  assert len(np.unique(evaluation.returns)) == 12
