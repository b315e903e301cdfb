"""Data of environments that reset themselves, recorded as each kind of vector environment hands them out."""

import numpy as np
import pytest
from format_sources import DISCOUNT, assert_same, next_observation, own_order, row_flags
from small_dataset import make_manifest

from macaw_jax.data.dataset import read_episodes, take_episodes
from macaw_jax.data.formats import FORMATS, ReadOptions
from macaw_jax.data.formats.arrays import read_arrays
from macaw_jax.data.manifest import DatasetError, read_manifest
from macaw_jax.data.starter import starter_data

LIMIT = 40


def read(*tasks, **options):
  return read_arrays(tasks, ReadOptions(discount=0.99, **options))


def line(observation, following, **more):
  """Rows of a one-dimensional task."""
  column = np.array(observation, np.float32)[:, None]
  rewards = np.arange(1.0, len(column) + 1)
  rows = {"observations": column, "actions": 0.5 * np.ones_like(column), "rewards": rewards}
  if following is not None:
    rows["next_observations"] = np.array(following, np.float32)[:, None]
  return rows | {name: np.array(values) for name, values in more.items()}


def walk(episodes, steps, *, reset, start=None, seed=0, size=0.1):
  """A point that walks at random; the rows of its episodes, one after the other.

  `reset` says what the next observation of a last row is: "proper", "same_step", or with a row more "next_step"; or
  "never", where the walk goes on.
  """
  rng = np.random.default_rng(seed)
  rows = {name: [] for name in ("observations", "actions", "rewards", "next_observations", "timeouts", "reset")}

  def add(*values):
    for column, value in zip(rows.values(), values, strict=True):
      column.append(value)

  def begin():
    return rng.uniform(-1, 1, 2) if start is None else np.array(start, float)

  state = begin()
  for _ in range(episodes):
    for step in range(steps):
      action = rng.uniform(-1, 1, 2)
      following, last = state + size * action, step == steps - 1
      begins = begin() if last and reset != "never" else following
      add(state, action, -np.linalg.norm(following), begins if reset == "same_step" else following, last, False)
      if last and reset == "next_step":
        add(following, rng.uniform(-1, 1, 2), 0.0, begins, False, True)
      state = begins
  return {name: np.array(values) for name, values in rows.items()}


def without(rows, *names):
  return {name: values for name, values in rows.items() if name not in (*names, "reset")}


def test_the_next_observation_of_a_reset_by_hand():
  rows = line([0, 1, 2, 10, 11, 12], [1, 2, 10, 11, 12, 20], timeouts=[0, 0, 1, 0, 0, 1])
  imported = read(rows)
  (episodes,) = imported.episodes
  np.testing.assert_array_equal(episodes.episode_length, [2, 2])
  np.testing.assert_array_equal(episodes.observation[:, 0], [0, 1, 10, 11])
  np.testing.assert_array_equal(episodes.reward, [1, 2, 4, 5])
  np.testing.assert_array_equal(episodes.final_observation[:, 0], [2, 12])
  np.testing.assert_array_equal(episodes.terminal, [False, False])
  assert imported.notes == (
    "task 0: environments that reset themselves: dropped the last step of 2 episodes that the time limit ended, and "
    "repeated the last observation of 0 that the task ended",
  )


def test_a_terminal_step_of_a_reset_stays_by_hand():
  rows = line([0, 1, 2, 10, 11, 12], [1, 2, 10, 11, 12, 20], terminals=[0, 0, 1, 0, 0, 1], timeouts=[0] * 6)
  (episodes,) = read(rows).episodes
  np.testing.assert_array_equal(episodes.episode_length, [3, 3])
  np.testing.assert_array_equal(episodes.final_observation[:, 0], [2, 12])  # not 10 and 20
  np.testing.assert_array_equal(episodes.terminal, [True, True])


@pytest.mark.parametrize("marked", [True, False])
def test_a_row_of_a_reset_is_dropped_by_hand(marked):
  following = [1, 2, 3, 10, 11, 12, 13, 20]
  rows = line([0, 1, 2, 3, 10, 11, 12, 13], following, timeouts=[0, 0, 1, 0, 0, 0, 1, 0])
  rows["rewards"][[3, 7]] = 0.0
  (episodes,) = read(rows if marked else without(rows, "timeouts")).episodes
  np.testing.assert_array_equal(episodes.episode_length, [3, 3])
  np.testing.assert_array_equal(episodes.observation[:, 0], [0, 1, 2, 10, 11, 12])
  np.testing.assert_array_equal(episodes.final_observation[:, 0], [3, 13])
  np.testing.assert_array_equal(episodes.reward, [1, 2, 3, 5, 6, 7])


@pytest.mark.parametrize("start", [None, (0.0, 0.0)])
@pytest.mark.parametrize("horizon", [None, 20])
@pytest.mark.parametrize("marked", [True, False])
@pytest.mark.parametrize("reset", ["proper", "same_step", "next_step"])
def test_walks_of_every_kind_give_their_steps(reset, marked, horizon, start):
  rows = walk(30, 20, reset=reset, start=start)
  if (reset, marked, horizon, start) == ("same_step", False, None, (0.0, 0.0)):
    # From one start, a reset is hardly longer than the longest steps: not enough where nothing else shows the ends.
    with pytest.raises(DatasetError, match=r"the step of every 20th row .*; expected --horizon or --episode_lengths"):
      read(without(rows, "timeouts"))
    return
  imported = read(without(rows) if marked else without(rows, "timeouts"), horizon=horizon)
  (episodes,) = imported.episodes
  steps = 19 if reset == "same_step" else 20
  np.testing.assert_array_equal(episodes.episode_length, [steps] * 30)
  kept = ~rows["reset"] if reset != "same_step" else ~rows["timeouts"]
  np.testing.assert_array_equal(episodes.observation, rows["observations"][kept].astype(np.float32))
  np.testing.assert_array_equal(episodes.reward, rows["rewards"][kept].astype(np.float32))
  ends = rows["timeouts"]
  final = rows["observations" if reset == "same_step" else "next_observations"][ends]
  np.testing.assert_array_equal(episodes.final_observation, final.astype(np.float32))
  assert bool(imported.notes) == (reset != "proper")


@pytest.mark.parametrize("reset", ["proper", "next_step"])
def test_walks_without_next_observations_give_their_steps(reset):
  rows = walk(30, 20, reset=reset)
  imported = read(without(rows, "next_observations"))
  (episodes,) = imported.episodes
  # In a row of a reset stands the final observation; without such a row, the last step is dropped for it.
  np.testing.assert_array_equal(episodes.episode_length, [19 if reset == "proper" else 20] * 30)
  final = rows["observations"][rows["timeouts"] if reset == "proper" else rows["reset"]]
  np.testing.assert_array_equal(episodes.final_observation, final.astype(np.float32))


@pytest.mark.parametrize("environments", [1, 3])
def test_parts_of_several_environments_may_stand_one_after_the_other(environments):
  parts = [walk(4, 10, reset="same_step", seed=seed) for seed in range(environments)]
  rows = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
  for names in ((), ("timeouts",)):
    (episodes,) = read(without(rows, *names)).episodes
    np.testing.assert_array_equal(episodes.episode_length, [9] * 4 * environments)
  # One episode of each environment: nothing shows the reset but the size of the last step.
  parts = [walk(1, 10, reset="same_step", seed=seed) for seed in range(8)]
  rows = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
  for names in ((), ("timeouts",)):
    (episodes,) = read(without(rows, *names)).episodes
    np.testing.assert_array_equal(episodes.episode_length, [9] * 8)


def test_tasks_of_few_episodes_are_judged_together():
  tasks = [without(walk(2, 10, reset="same_step", seed=seed)) for seed in range(6)]
  assert [len(task["rewards"]) for task in tasks] == [20] * 6
  for episodes in read(*tasks).episodes:
    np.testing.assert_array_equal(episodes.episode_length, [9, 9])


def test_time_limits_behind_which_time_goes_on_are_left_alone():
  rows = walk(30, 20, reset="never")
  imported = read(without(rows))
  np.testing.assert_array_equal(imported.episodes[0].episode_length, [20] * 30)
  np.testing.assert_array_equal(imported.episodes[0].final_observation[:-1], imported.episodes[0].observation[20::20])
  assert imported.notes == ()


def test_where_nothing_shows_a_reset_the_reader_decides():
  # A point that never leaves its start: the reset is no longer than any step.
  rows = walk(12, 5, reset="same_step", start=(0.0, 0.0), size=1e-9)
  rows["observations"] += np.random.default_rng(1).normal(size=(60, 2))
  rows["next_observations"] = np.roll(rows["observations"], -1, axis=0)
  with pytest.raises(DatasetError, match=r"^task 0: 11 of 12 ends lead to .*; say --autoreset=none \(next obs.*, same"):
    read(without(rows))
  assert read(without(rows), autoreset="none").episodes[0].episode_length.tolist() == [5] * 12
  assert read(without(rows), autoreset="same_step").episodes[0].episode_length.tolist() == [4] * 12
  with pytest.raises(DatasetError, match=r"row 5: expected the row of a reset below the end of an episode"):
    read(without(rows), autoreset="next_step")
  for options in ({"autoreset": "none"}, {"horizon": 60}):
    assert read(without(rows, "timeouts"), **options).episodes[0].episode_length.tolist() == [60]
  for options in ({}, {"horizon": 5}):
    with pytest.raises(DatasetError, match="--horizon"):
      read(without(rows, "timeouts"), **options)
  found = read(without(rows, "timeouts"), autoreset="same_step", horizon=5).episodes[0]
  assert found.episode_length.tolist() == [4] * 12
  with pytest.raises(DatasetError, match="--autoreset=same_step: nothing marks an end; expected --horizon"):
    read(without(rows, "timeouts"), autoreset="same_step")


def test_lengths_that_are_given_count_steps_and_no_rows_of_resets():
  rows = without(walk(6, 20, reset="next_step"), "timeouts")
  for options in ({"episode_lengths": 20}, {"episode_lengths": [[20] * 6]}):
    (episodes,) = read(rows, autoreset="next_step", **options).episodes
    assert episodes.episode_length.tolist() == [20] * 6
  with pytest.raises(DatasetError, match="expected the 126 rows that there are, got episodes of 20 steps"):
    read(rows, episode_lengths=20)


def recorded(name, mode, keep_final=False, environments=1, steps=300):
  """Rows that a loop over a vector environment of Gymnasium records, with random actions."""
  gymnasium = pytest.importorskip("gymnasium")
  vector = pytest.importorskip("gymnasium.vector")
  make = [lambda: gymnasium.make(name, max_episode_steps=LIMIT)] * environments
  envs = vector.SyncVectorEnv(make, autoreset_mode=vector.AutoresetMode[mode])
  observation, _ = envs.reset(seed=0)
  envs.action_space.seed(0)
  rows, is_reset = [[] for _ in range(environments)], np.zeros(environments, bool)
  for _ in range(steps):
    action = envs.action_space.sample()
    following, reward, terminated, truncated, info = envs.step(action)
    for index in range(environments):
      final = keep_final and "final_obs" in info and info["_final_obs"][index]
      after = info["final_obs"][index] if final else following[index]
      flags = (terminated[index], truncated[index], is_reset[index])
      rows[index].append((observation[index], action[index], reward[index], after, *flags))
    observation = following.copy()
    is_reset = (terminated | truncated) & (mode == "NEXT_STEP")
  envs.close()
  names = ("observations", "actions", "rewards", "next_observations", "terminals", "timeouts", "reset")
  columns = zip(*(row for part in rows for row in part), strict=True)
  return {name: np.array(values) for name, values in zip(names, columns, strict=True)}


@pytest.mark.parametrize("names", [(), ("timeouts",)])
@pytest.mark.parametrize(("name", "bound"), [("Pendulum-v1", 2.0), ("InvertedPendulum-v5", 3.0)])
@pytest.mark.parametrize(("mode", "keep_final"), [("SAME_STEP", True), ("SAME_STEP", False), ("NEXT_STEP", False)])
def test_what_gymnasium_hands_out_gives_its_steps(mode, keep_final, name, bound, names):
  rows = recorded(name, mode, keep_final)
  steps = {name: values[~rows["reset"]] for name, values in rows.items()}
  ends = steps["terminals"] | steps["timeouts"]
  imported = read(without(rows, *names), action_bound=bound, horizon=LIMIT)
  (episodes,) = imported.episodes
  falsified = mode == "SAME_STEP" and not keep_final
  kept = ~(steps["timeouts"] & falsified)
  np.testing.assert_array_equal(episodes.observation, steps["observations"][kept].astype(np.float32))
  np.testing.assert_array_equal(episodes.reward, steps["rewards"][kept].astype(np.float32))
  final = steps["observations" if falsified else "next_observations"][ends].astype(np.float32)
  np.testing.assert_array_equal(episodes.final_observation[: len(final)], final)
  np.testing.assert_array_equal(episodes.terminal[: len(final)], steps["terminals"][ends])
  assert len(episodes.terminal) - len(final) == (not ends[-1])
  assert any("reset themselves" in note for note in imported.notes) == (falsified or mode == "NEXT_STEP")


def test_large_steps_at_regular_distance_are_never_taken_for_one_long_episode():
  # Resets of a cheetah that has hardly moved are among the largest steps, and no larger than them.
  rows = recorded("HalfCheetah-v5", "SAME_STEP", environments=3)
  with pytest.raises(DatasetError, match=r"the step of every 40th row is one of the largest.*expected --horizon"):
    read(without(rows, "timeouts"))
  (episodes,) = read(without(rows, "timeouts"), horizon=LIMIT).episodes
  assert episodes.episode_length.tolist() == ([39] * 7 + [20]) * 3


@pytest.fixture(scope="module")
def cheetah():
  """Real episodes of a policy that runs."""
  directory = starter_data("cheetah_dir")
  return take_episodes(read_episodes(directory, read_manifest(directory), 0), np.arange(0, 100, 10))


def rows_of(episodes):
  terminals, timeouts = row_flags(episodes, episodes.terminal), row_flags(episodes, ~episodes.terminal)
  rows = {"observations": episodes.observation, "actions": episodes.action, "rewards": episodes.reward}
  return rows | {"next_observations": next_observation(episodes), "terminals": terminals, "timeouts": timeouts}


@pytest.mark.parametrize("options", [{}, {"horizon": 200}])
@pytest.mark.parametrize("names", [(), ("timeouts",)])
def test_proper_data_are_left_as_they_are(cheetah, names, options):
  imported = read(without(rows_of(cheetah), *names), **options)
  assert_same(imported.episodes, [own_order(cheetah)])
  assert imported.notes == ()


@pytest.mark.parametrize("name", ["macaw_hdf5", "d4rl_hdf5", "minari"])
def test_proper_data_in_every_layout_are_left_as_they_are(cheetah, name, tmp_path):
  pytest.importorskip("h5py")
  write = FORMATS[name].write
  assert write is not None
  write(tmp_path / "source", [cheetah], make_manifest(1, discount=DISCOUNT))
  imported = FORMATS[name].read([tmp_path / "source"], ReadOptions())
  assert_same(imported.episodes, [cheetah])
  assert imported.notes == ()


@pytest.mark.parametrize("names", [(), ("timeouts",)])
def test_resets_of_a_cheetah_are_found(cheetah, names):
  rows = rows_of(cheetah)
  last = np.flatnonzero(rows["timeouts"])
  rows["next_observations"][last] = rows["observations"][np.append(last[:-1] + 1, 0)]
  (episodes,) = read(without(rows, *names)).episodes
  assert episodes.episode_length.tolist() == [199] * 10
  np.testing.assert_array_equal(episodes.final_observation, cheetah.observation[last])
