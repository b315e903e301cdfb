import numpy as np
import pytest
from format_sources import edit_hdf5, write_pickles
from small_dataset import make_episodes

from macaw_jax.data.formats import FORMATS, ReadOptions
from macaw_jax.data.formats.arrays import read_arrays
from macaw_jax.data.formats.follows import displacements, follows
from macaw_jax.data.formats.table import Table
from macaw_jax.data.manifest import DatasetError

OBSERVATIONS = (0.0, 1.0, 2.0, 10.0, 11.0, 12.0)


def rows(observations=OBSERVATIONS, following=None, **more):
  column = np.array(observations, np.float64)[:, None]
  following = column + 1.0 if following is None else np.array(following)[:, None]
  table = {"observations": column, "actions": np.full_like(column, 0.5), "rewards": column[:, 0]}
  return table | {"next_observations": following} | {name: np.array(values) for name, values in more.items()}


def taken(table, order):
  return {name: values[order] for name, values in table.items()}


def read(*tasks, **options):
  return read_arrays(tasks, ReadOptions(discount=0.99, **options))


def table_of(observations, following):
  observations, following = np.asarray(observations), np.asarray(following)
  nothing = np.zeros(len(observations))
  return Table(observations, nothing[:, None], nothing, following, nothing.astype(bool))


def test_displacements_by_hand():
  # Mean steps: 2 in the first column, 0.5 in the second, none in the third.
  table = table_of([[0.0, 0.0, 7.0], [1.0, 1.0, 7.0]], [[1.0, 1.0, 7.0], [4.0, 1.0, 7.0]])
  np.testing.assert_array_equal(displacements(table), [2.0, 1.5])


@pytest.mark.parametrize(
  ("difference", "size", "expected"),
  [
    (0.0, 1.0, True),
    (9e-4, 1.0, True),  # of a step of 1
    (2e-3, 1.0, False),
    (9e-4, 0.1, False),
    (1e-3, 1e-6, False),
  ],
)
def test_a_row_follows_up_to_a_thousandth_of_a_step(difference, size, expected):
  table = table_of([[0.0], [size + difference], [2 * size]], [[size], [2 * size + difference], [3 * size]])
  assert follows(table)[0] == expected


@pytest.mark.parametrize(
  ("kind", "difference", "expected"),
  [(np.float32, 4e-4, True), (np.float32, 6e-4, False), (np.float16, 0.9, True), (np.float16, 1.1, False)],
)
def test_a_row_follows_up_to_the_rounding_of_its_type(kind, difference, expected):
  # At 1000, where the step is no longer than the difference.
  table = table_of(np.full((2, 1), 1000, kind), np.full((2, 1), 1000.0 + difference))
  assert follows(table).tolist() == [expected]


@pytest.mark.parametrize("error", [0.0, 1e-6, -1e-4])
def test_ends_are_found_up_to_rounding(error):
  (episodes,) = read(rows(following=np.array(OBSERVATIONS) + 1 + error)).episodes
  np.testing.assert_array_equal(episodes.episode_length, [3, 3])
  np.testing.assert_allclose(episodes.final_observation[:, 0], [3, 13], atol=1e-3)


LONG = rows(np.concatenate([np.arange(0.0, 21.0), np.arange(100.0, 121.0)]))


@pytest.mark.parametrize(
  "order", [np.random.default_rng(0).permutation(42), np.arange(0, 42, 7), np.arange(0, 42, 2), np.arange(42)[::-1]]
)
def test_rows_that_do_not_follow_one_another_are_refused(order):
  changed = taken(LONG, order)
  advice = r"in the order of time with none left out \(import all rows: `dataset\.skip` thins them later\)"
  with pytest.raises(DatasetError, match=f"leave an episode of one step; expected rows {advice}"):
    read(changed)
  for lengths in (len(order), [[2, len(order) - 2]]):
    with pytest.raises(DatasetError, match=f"expected the observation of the row below, {advice}"):
      read(changed, episode_lengths=lengths)


def test_one_task_out_of_order_among_others_is_refused():
  order = np.random.default_rng(0).permutation(42)
  with pytest.raises(DatasetError, match=r"^task 1: of 38 ends that were found by comparing rows, 35"):
    read(LONG, taken(LONG, order), *[LONG] * 50)


def test_episodes_of_one_step_are_taken_where_the_reader_says_so():
  bandit = rows(np.random.default_rng(0).normal(size=20))
  with pytest.raises(DatasetError, match=r"or --episode_lengths=1 if episodes have one step"):
    read(bandit)
  for options in ({"episode_lengths": 1}, {"horizon": 1}):
    np.testing.assert_array_equal(read(bandit, **options).episodes[0].episode_length, [1] * 20)


def test_lengths_are_those_of_the_reader():
  touching = rows(np.arange(6.0))
  for lengths, expected in ((3, [3, 3]), ([[1, 5]], [1, 5]), ([[2, 2, 2]], [2, 2, 2])):
    (episodes,) = read(touching, episode_lengths=lengths, autoreset="none").episodes
    np.testing.assert_array_equal(episodes.episode_length, expected)
    np.testing.assert_array_equal(episodes.final_observation[:, 0], np.cumsum(expected))
  both = read(touching, rows(), episode_lengths=[[2, 4], [3, 3]], autoreset="none").episodes
  assert [episodes.episode_length.tolist() for episodes in both] == [[2, 4], [3, 3]]
  # They stand in place of the marks of the source.
  marked = rows(np.arange(6.0), timeouts=[1, 0, 0, 0, 0, 0])
  assert read(marked, episode_lengths=3, autoreset="none").episodes[0].episode_length.tolist() == [3, 3]


@pytest.mark.parametrize(
  ("lengths", "message"),
  [
    (4, "--episode_lengths: expected the 6 rows that there are, got episodes of 4 steps, which 6 is no multiple of"),
    (7, "got episodes of 7 steps"),
    ([[3, 4]], "--episode_lengths: expected the 6 rows that there are, got 7"),
    ([[3], [3], [3]], "--episode_lengths: expected one list for all tasks or one for each of 1, got 3"),
    ([[0, 6]], r"episode_lengths=\[\[0, 6\]\]: expected at least 1"),
    ([[2, 4]], "task 0: .*--episode_lengths: row 2 is terminal, and the episode goes on after it"),
  ],
)
def test_lengths_that_cannot_be_are_an_error(lengths, message):
  with pytest.raises(DatasetError, match=message.replace("task 0: .*", "task 0: ")):
    read(rows(terminals=[0, 0, 1, 0, 0, 1]), episode_lengths=lengths)


def test_ends_at_which_nothing_jumps_are_refused():
  # Next observations that are a little off: too much for rounding, too little for a reset.
  observations = np.arange(40.0)
  following = observations + 1
  following[::4] += 0.05
  with pytest.raises(DatasetError, match=r"of 10 ends .* 10 are less than a tenth of a step from the row below"):
    read(rows(observations, following))


def test_rows_without_any_end_are_refused_unless_the_reader_says_that_they_are_one_episode():
  with pytest.raises(DatasetError, match=r"task 1: 9 rows follow one another and nothing marks an end; expected --hor"):
    read(rows(), rows(np.arange(9.0)))
  for options in ({"autoreset": "none"}, {"horizon": 9}, {"episode_lengths": [[3, 3], [9]]}):
    assert read(rows(), rows(np.arange(9.0)), **options).episodes[1].episode_length.tolist() == [9]
  with pytest.raises(DatasetError, match=r"task 1: expected episodes of at most 8 steps \(horizon\), got 9 .*--autor"):
    read(rows(), rows(np.arange(9.0)), horizon=8)
  # No longer than episodes that are known.
  assert read(rows(), rows(np.arange(3.0))).episodes[1].episode_length.tolist() == [3]


@pytest.mark.parametrize("name", ["pickle", "d4rl_hdf5"])
def test_timeouts_that_are_never_true_say_nothing(name, tmp_path):
  episodes = make_episodes((3, 3))
  episodes.final_observation[:, 0] = [3, 6]
  if name == "pickle":
    import pickle

    write_pickles(tmp_path / "source", [episodes])
    path = tmp_path / "source/dataset_task_0.pkl"
    path.write_bytes(pickle.dumps(pickle.loads(path.read_bytes()) | {"timeouts": np.zeros(6, bool)}))
  else:
    pytest.importorskip("h5py")
    from small_dataset import make_manifest

    write = FORMATS[name].write
    assert write is not None
    write(tmp_path / "source", [episodes], make_manifest(1))
    edit_hdf5(tmp_path / "source/task_00.hdf5", lambda file: file["timeouts"].__setitem__(slice(None), False))
  (found,) = FORMATS[name].read([tmp_path / "source"], ReadOptions()).episodes
  np.testing.assert_array_equal(found.episode_length, [3, 3])


def test_an_end_that_only_some_rows_mark_is_found_too():
  # Falls are terminal, and time limits are not marked at all.
  (episodes,) = read(rows(terminals=[0, 0, 0, 0, 0, 1])).episodes
  np.testing.assert_array_equal(episodes.episode_length, [3, 3])
  np.testing.assert_array_equal(episodes.terminal, [False, True])
