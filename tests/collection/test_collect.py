import dataclasses

import jax
import numpy as np
import pytest

from macaw_jax import envs
from macaw_jax.collection import collect as collect_module
from macaw_jax.collection.acting import uniform_act
from macaw_jax.collection.collect import CollectSettings, collect, examine_settings, make_relabel
from macaw_jax.envs.family import AnalyticDynamics, TaskFamily
from macaw_jax.envs.rollout import make_rollout

SETTINGS = CollectSettings(
  seed=0,
  episodes_per_task=5,
  warmup_episodes=2,
  tasks_per_round=2,
  updates_per_round=3,
  batch_size=4,
  own_fraction=0.5,
  hidden_sizes=(8,),
  learning_rate=1e-3,
  discount=0.9,
  tau=0.01,
  reward_scale=1.0,
  ignored_observations=(),
  reference_episodes=3,
  other_policy_episodes=0,
)


def line(num_tasks=4):
  """A point on a line, moved by its action; the reward is minus its distance to the goal; past 1.2 an episode ends."""
  return TaskFamily(
    name="line",
    observation_size=1,
    action_size=1,
    horizon=6,
    tasks={"goal": np.linspace(-1, 1, num_tasks, dtype=np.float32)},
    train_tasks=tuple(range(num_tasks - 1)),
    test_tasks=(num_tasks - 1,),
    dynamics=AnalyticDynamics(lambda task, state, action: state + action),
    reset=lambda task, key: jax.random.uniform(key, (1,), minval=-1.0),
    observe=lambda task, state: state,
    reward=lambda task, state, action, next_state: -abs(next_state[0] - task["goal"]),
    terminal=lambda task, state: abs(state[0]) > 1.2,
  )


def uniform_rollout(family, key):
  rollout = make_rollout(family, lambda *args: uniform_act(*args, action_size=family.action_size))
  return rollout({}, {}, family.tasks, key, deterministic=False)


def test_relabelled_rewards_of_the_cheetah_by_its_formula():
  family = envs.make("cheetah_vel")
  trajectory = uniform_rollout(family, jax.random.key(0))
  rewards = make_relabel(family)(trajectory)
  assert rewards.shape == (40, 200, 40)
  tasks = np.arange(40)
  np.testing.assert_array_equal(rewards[tasks, :, tasks], trajectory.reward)  # the task that it was collected for
  x = np.asarray(trajectory.state.qpos)[:, :, 0]
  velocity = np.diff(x, axis=1) / 0.05
  cost = 0.05 * np.sum(np.asarray(trajectory.action, np.float64) ** 2, axis=-1)
  wanted = 0.075 * np.arange(1, 41)
  expected = -np.abs(velocity[..., None] - wanted) - cost[..., None]
  np.testing.assert_allclose(rewards, expected, atol=1e-5)


def test_relabelled_rewards_are_zero_after_the_end():
  family = line()
  trajectory = uniform_rollout(family, jax.random.key(0))
  mask = np.asarray(trajectory.mask)
  assert 0 < mask.sum() < mask.size  # some episodes end early
  rewards = make_relabel(family)(trajectory)
  np.testing.assert_array_equal(rewards == 0.0, np.repeat(mask[..., None] == 0.0, 4, axis=2))


class Observer:
  """Keeps every progress report, and how often anything had been compiled by then."""

  def __init__(self):
    self.progress, self.compilations, self._count = [], [], 0

  def on_event(self, name, duration, **kwargs):
    self._count += name.endswith("backend_compile_duration")

  def report(self, progress):
    self.progress.append(progress)
    self.compilations.append(self._count)


@pytest.fixture(scope="module")
def collected():
  observer = Observer()
  jax.monitoring.register_event_duration_secs_listener(observer.on_event)
  collection = collect(line(), SETTINGS, report=observer.report)
  jax.monitoring.unregister_event_duration_listener(observer.on_event)
  return collection, observer


def test_every_task_gets_whole_episodes_in_order_of_collection(collected):
  collection, _ = collected
  goals = np.linspace(-1, 1, 4)
  steps = 0
  for goal, episodes in zip(goals, collection.episodes, strict=True):
    assert len(episodes.episode_length) == 5
    assert episodes.episode_length.sum() == len(episodes.reward)
    assert np.all(np.diff(episodes.collected_at) > 0)
    starts = np.cumsum(episodes.episode_length) - episodes.episode_length
    for start, length, final, terminal in zip(
      starts, episodes.episode_length, episodes.final_observation, episodes.terminal, strict=True
    ):
      states = np.concatenate([episodes.observation[start : start + length], final[None]])
      # One episode: each state is the one before it plus the action, and only the last is out of bounds.
      np.testing.assert_allclose(np.diff(states, axis=0), episodes.action[start : start + length], atol=1e-6)
      np.testing.assert_allclose(episodes.reward[start : start + length], -abs(states[1:, 0] - goal), atol=1e-6)
      assert np.all(np.abs(states[:-1]) <= 1.2)
      assert terminal == (abs(final[0]) > 1.2)
      assert terminal or length == 6
    steps += len(episodes.reward)
  assert steps == collection.environment_steps


def test_progress_counts_rounds_steps_and_updates(collected):
  collection, observer = collected
  progress = observer.progress
  # Three episodes of four tasks after the warm-up, two tasks a round.
  assert [entry.rounds for entry in progress] == [1, 2, 3, 4, 5, 6]
  assert [entry.updates for entry in progress] == [3, 6, 9, 12, 15, 18]
  assert collection.updates == 18
  assert progress[-1].environment_steps == collection.environment_steps
  for task, episodes in enumerate(collection.episodes):
    last = episodes.reward[-episodes.episode_length[-1] :].sum()
    np.testing.assert_allclose(progress[-1].last_returns[task], last, rtol=1e-5)


def test_nothing_is_compiled_after_the_first_round(collected):
  compilations = collected[1].compilations
  assert compilations[0] > 0
  assert compilations[-1] == compilations[0]


def test_the_same_seed_collects_the_same_data(collected):
  again = collect(line(), SETTINGS, report=lambda progress: None)
  jax.tree.map(np.testing.assert_array_equal, again, collected[0])
  assert not np.array_equal(again.episodes[0].observation, again.episodes[1].observation)


def test_the_agent_becomes_better_than_random_at_its_tasks():
  settings = dataclasses.replace(
    SETTINGS, episodes_per_task=40, updates_per_round=30, batch_size=32, learning_rate=3e-3, hidden_sizes=(32,)
  )
  collection = collect(line(), settings, report=lambda progress: None)
  assert np.all(collection.expert_returns > collection.random_returns + 1.0)
  assert collection.expert_returns.mean() > -1.5


@pytest.mark.parametrize(
  ("field", "value"),
  [
    ("seed", -1),
    ("warmup_episodes", 0),
    ("episodes_per_task", 2),
    ("tasks_per_round", 3),
    ("tasks_per_round", 0),
    ("updates_per_round", -1),
    ("batch_size", 0),
    ("own_fraction", -0.1),
    ("own_fraction", float("nan")),
    ("hidden_sizes", ()),
    ("hidden_sizes", (8, 0)),
    ("learning_rate", 0.0),
    ("learning_rate", float("nan")),
    ("discount", 0.0),
    ("tau", 1.5),
    ("reward_scale", float("inf")),
    ("ignored_observations", (1,)),
    ("reference_episodes", 0),
  ],
)
def test_a_bad_setting_is_named(field, value):
  assert examine_settings(SETTINGS, line()) == []
  (problem,) = examine_settings(dataclasses.replace(SETTINGS, **{field: value}), line())
  assert problem.startswith(f"{field} is ")


def test_where_physics_differ_a_transition_keeps_its_own_reward_alone():
  family = line()._replace(differ_in="physics")
  trajectory = uniform_rollout(family, jax.random.key(0))
  np.testing.assert_array_equal(make_relabel(family)(trajectory), trajectory.reward[:, :, None])
  with pytest.raises(ValueError, match="own_fraction"):
    collect(family, SETTINGS, report=lambda progress: None)
  settings = dataclasses.replace(SETTINGS, own_fraction=1.0)
  collection = collect(family, settings, report=lambda progress: None)
  assert [len(episodes.episode_length) for episodes in collection.episodes] == [5] * 4
  assert collection.other_policies == {}


@pytest.fixture(scope="module")
def shifted():
  """A collection with episodes of other policies, the agent after each round, and what collected these episodes."""
  learned, collected = [], {}
  make_learn, other_policies = collect_module._make_learn, collect_module._other_policies

  def make_recording(agent, settings):
    learn = make_learn(agent, settings)

    def recording(state, replay, key):
      state, metrics = learn(state, replay, key)
      learned.append(jax.tree.map(np.array, state.params))
      return state, metrics

    return recording

  def recording_episodes(rollout, params, task_input, family, key, **options):
    episodes = other_policies(rollout, params, task_input, family, key, **options)
    collected[jax.random.key_data(key).tobytes()] = params, episodes
    return episodes

  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(collect_module, "_make_learn", make_recording)
    patch.setattr(collect_module, "_other_policies", recording_episodes)
    settings = dataclasses.replace(SETTINGS, other_policy_episodes=3)
    collection = collect(line(), settings, report=lambda progress: None)
  return collection, learned, collected


@pytest.mark.parametrize(
  ("name", "rounds"), [("other_policies_start", 1), ("other_policies_middle", 3), ("other_policies", 6)]
)
def test_other_policies_are_those_of_the_agent_at_three_moments(shifted, name, rounds):
  """After a sixth of the six rounds, after half of them, and at the end."""
  collection, learned, collected = shifted
  assert len(learned) == 6
  (params,) = (params for params, episodes in collected.values() if episodes is collection.other_policies[name])
  jax.tree.map(np.testing.assert_array_equal, params, learned[rounds - 1])
  others = [each for index, each in enumerate(learned) if index != rounds - 1]
  assert not any(all(jax.tree.leaves(jax.tree.map(np.array_equal, params, each))) for each in others)


def test_other_policies_at_the_end_act_with_the_key_that_they_always_had(shifted):
  """The same seed collects the same again, and the earlier moments have keys of their own."""
  collection, _, collected = shifted
  key = jax.random.fold_in(jax.random.key(SETTINGS.seed), 7)
  _, episodes = collected[jax.random.key_data(key).tobytes()]
  assert episodes is collection.other_policies["other_policies"]
  assert list(collection.other_policies) == ["other_policies_start", "other_policies_middle", "other_policies"]
  starts = {name: tuple(each[0].observation[0]) for name, each in collection.other_policies.items()}
  assert len(set(starts.values())) == 3
  for each in collection.other_policies.values():
    assert [len(part.episode_length) for part in each] == [3] * 4


def test_the_data_are_the_same_with_episodes_of_other_policies_and_without(shifted, collected):
  jax.tree.map(np.testing.assert_array_equal, shifted[0].episodes, collected[0].episodes)


def test_no_episode_of_other_policies_is_the_tasks_own():
  acted = []

  def rollout(params, adapted, tasks, key, *, deterministic):
    acted.append(adapted["task"])
    assert not deterministic
    return uniform_rollout(line(), key)

  family = line()
  episodes = collect_module._other_policies(
    rollout, None, np.arange(4), family, jax.random.key(0), count=6, collected_at=100
  )
  assert all((policies != np.arange(4)).all() for policies in acted)
  assert {tuple(policies) for policies in acted} == {(1, 2, 3, 0), (2, 3, 0, 1), (3, 0, 1, 2)}  # each in turn
  assert [len(part.episode_length) for part in episodes] == [6] * 4
  assert episodes[0].collected_at[0] == 100
  assert np.all(np.diff(episodes[0].collected_at) > 0)
