"""Rows of training tasks that explain a support, from a reference that is made by hand."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from point_goals import linear_model, point_dataset

from macaw_jax.data import reward_model
from macaw_jax.data.retrieval import (
  MARGIN,
  UNEXPLAINED,
  Reference,
  by_outcomes,
  draw_rows,
  empty_reference,
  make_reference,
)
from macaw_jax.data.reward_model import changes, infer, misfit, proportions, rewards
from macaw_jax.types import Problem, Transition

TASKS, ROWS, COUNT, SUPPORT = 4, 60, 200, 50
KEY = jax.random.key(0)
# The reward in task t is w_t . s for a state s [2]; actions are zero and states stand still. None is a mixture.
WEIGHTS = np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, -1.0], [-1.0, 1.0]])


def transitions(states, weights, *, mark=0.0, bonus=0.0):
  """Rows of a task in states `[..., 2]`: `final_discount` has the task's mark, `mc_return` the place of the row."""
  states = jnp.asarray(states, jnp.float32)
  reward = states @ jnp.asarray(weights, jnp.float32) + bonus
  zeros = jnp.zeros_like(reward)
  place = jnp.broadcast_to(jnp.arange(reward.shape[-1], dtype=jnp.float32), reward.shape)
  return Transition(states, zeros[..., None], reward, states, zeros, zeros, place, states, zeros + mark)


def states_of(seed, centre=0.0, count=SUPPORT):
  return centre + np.random.default_rng(seed).normal(size=(count, 2))


@pytest.fixture(scope="module")
def reference():
  """The tasks' rows, marked by the task, and the model that is theirs."""
  # Features are the state, and a one: `rewards` reads (s, a, s' - s).
  skip = np.eye(5)[:, :2]
  vectors = np.concatenate([WEIGHTS, np.zeros((TASKS, 1))], axis=1)[:, None]
  model = linear_model(vectors.astype(np.float32), skip=skip.astype(np.float32), noise=0.01)
  rows = [transitions(states_of(task, count=ROWS), WEIGHTS[task], mark=task) for task in range(TASKS)]
  return Reference(model, jax.tree.map(lambda *leaves: jnp.stack(leaves), *rows))


@pytest.fixture(scope="module")
def retrieval():
  return by_outcomes(rewards, rows=COUNT)


@pytest.fixture(scope="module")
def retrieve(retrieval):
  """Compiled once."""
  return jax.jit(retrieval.retrieve)


def marks(rows):
  """How often each task's rows are among these."""
  return np.bincount(np.asarray(rows.final_discount).astype(int), minlength=TASKS)


def assert_recorded(reference, rows):
  """Each row is one of the reference, whole and with the reward that was recorded."""
  task, place = (np.asarray(leaf).astype(int) for leaf in (rows.final_discount, rows.mc_return))
  jax.tree.map(
    lambda found, kept: np.testing.assert_array_equal(found, np.asarray(kept)[task, place]), rows, reference.rows
  )


@pytest.mark.parametrize("task", range(TASKS))
def test_rows_come_from_the_task_that_explains_the_rewards(reference, retrieve, task):
  support = transitions(states_of(10), WEIGHTS[task], mark=9.0)
  found = retrieve(reference, support, KEY)
  assert found.observation.shape == (COUNT, 2)
  assert found.reward.shape == (COUNT,)
  assert found.mask is None
  assert marks(found)[task] > 0.97 * COUNT
  assert len(set(np.asarray(found.mc_return))) > ROWS / 2  # of its whole history
  assert_recorded(reference, found)


def test_rows_of_a_mixture_come_from_its_tasks_in_their_shares(reference, retrieve):
  """The reward 0.75 s_0 + 0.25 s_1 is that of no task; the recorded rewards stay those of the tasks."""
  support = transitions(states_of(10), [0.75, 0.25])
  found = retrieve(reference, support, KEY)
  deviation = np.sqrt(0.75 * 0.25 / COUNT)
  np.testing.assert_allclose(marks(found) / COUNT, [0.75, 0.25, 0.0, 0.0], atol=4 * deviation)
  assert_recorded(reference, found)


@pytest.fixture(scope="module")
def retrieve_masked(retrieval):
  """`(reference, support, number of rows that count, key) -> rows`, compiled once."""
  return jax.jit(
    lambda reference, support, count, key: retrieval.retrieve(
      reference, support._replace(mask=jnp.arange(SUPPORT) < count * 1.0), key
    )
  )


def test_masked_rows_are_no_evidence(reference, retrieve_masked):
  support, other = transitions(states_of(10), WEIGHTS[1]), transitions(states_of(11), WEIGHTS[2], bonus=50.0)
  both = jax.tree.map(lambda one, other: jnp.concatenate([one[:30], other[:20]]), support, other)
  assert marks(retrieve_masked(reference, both, 30, KEY))[1] > 0.97 * COUNT


def test_rows_are_drawn_by_their_shares(reference):
  shares = jnp.array([0.1, 0.0, 0.6, 0.3])
  found = draw_rows(reference, shares, KEY, count=5_000)
  np.testing.assert_allclose(marks(found) / 5_000, shares, atol=0.03)
  assert marks(found)[1] == 0
  assert np.ptp(np.bincount(np.asarray(found.mc_return).astype(int), minlength=ROWS)) < 100  # of 83 a place
  assert_recorded(reference, found)


def test_before_there_are_data_rows_are_those_of_one_task_each_as_likely(reference, retrieval):
  introduced = jax.jit(jax.vmap(retrieval.introduce, in_axes=(None, 0)))(reference, jax.random.split(KEY, 400))
  assert introduced.reward.shape == (400, COUNT)
  tasks = np.asarray(introduced.final_discount)
  assert np.all(tasks == tasks[:, :1])
  counts = np.bincount(tasks[:, 0].astype(int), minlength=TASKS)
  np.testing.assert_allclose(counts / 400, 0.25, atol=0.1)
  assert_recorded(reference, introduced)


# The support of a task outside the training tasks' hull


@jax.jit
def shares_of(reference, support):
  """The shares of training tasks, and how badly they explain the support."""
  model, seen = reference.model, rewards(support)
  shares = proportions(model, infer(model, seen).mean)
  return shares, misfit(model, seen, shares, jnp.ones(SUPPORT))


@pytest.mark.parametrize("paid", ["as well", "a little less", "less"])
def test_the_support_of_a_task_that_no_mixture_explains_is_kept_if_it_is_as_well_paid(reference, retrieve, paid):
  """The reward 4 s_0 is outside of the hull; its mean is set beside that of the nearest tasks' rows."""
  states, weights = states_of(10), np.array([4.0, 0.0])
  wanted = {"as well": 0.1, "a little less": -0.8 * MARGIN, "less": -1.5 * MARGIN}[paid]
  recorded = reference.rows.reward
  for _ in range(20):  # The shares follow from the states, if little.
    shares, unexplained = shares_of(reference, transitions(states, weights))
    goal = shares @ recorded.mean(axis=1) + wanted * recorded.std()
    states[:, 0] += (goal - (states @ weights).mean()) / weights[0]
  assert unexplained > UNEXPLAINED
  support = transitions(states, weights, mark=9.0)
  found = retrieve(reference, support, KEY)
  assert found.mask is None
  if paid == "less":
    assert_recorded(reference, found)
  else:
    np.testing.assert_array_equal(found.final_discount, 9.0)
    place = np.asarray(found.mc_return).astype(int)
    assert len(set(place)) > 40  # of 50
    jax.tree.map(lambda one, kept: np.testing.assert_array_equal(one, kept[place]), found, support)


def test_masked_rows_of_a_support_are_not_kept(reference, retrieve_masked):
  support = transitions(states_of(10, centre=[0.5, 0.0]), [4.0, 0.0], mark=9.0)
  found = retrieve_masked(reference, support, 20, KEY)
  np.testing.assert_array_equal(found.final_discount, 9.0)
  assert set(np.asarray(found.mc_return)) <= set(range(20))
  # How well the others are paid does not count.
  worse = support._replace(reward=support.reward.at[20:].set(-1e3))
  np.testing.assert_array_equal(retrieve_masked(reference, worse, 20, KEY).mc_return, found.mc_return)


def test_a_support_that_is_explained_is_not_kept_however_well_it_is_paid(reference, retrieve):
  support = transitions(states_of(10, centre=[2.0, 0.0]), WEIGHTS[0], mark=9.0)
  assert support.reward.mean() > reference.rows.reward[0].mean() + reference.rows.reward.std()
  assert_recorded(reference, retrieve(reference, support, KEY))


def test_rewards_that_are_all_the_same_leave_the_agent_at_its_prior(reference, retrieve):
  """Each key draws one task, and no task is likelier for the states that the support came to."""
  states = states_of(10, centre=[1.0, 0.0])
  constant = transitions(states, [0.0, 0.0], bonus=1.0)
  keys = jax.random.split(KEY, 100)
  drawn = [marks(retrieve(reference, constant, key)) for key in keys]
  assert all(np.count_nonzero(each) == 1 for each in drawn)
  np.testing.assert_allclose(np.mean(drawn, axis=0) / COUNT, 0.25, atol=0.13)


def test_rewards_that_are_all_the_same_are_evidence_where_a_task_pays_so(reference, retrieve):
  """In states where task 1 pays a half everywhere, as it does nowhere else."""
  states = np.stack([np.random.default_rng(0).normal(size=SUPPORT), np.full(SUPPORT, 0.5)], axis=1)
  assert marks(retrieve(reference, transitions(states, WEIGHTS[1]), KEY))[1] > 0.9 * COUNT


def test_nothing_in_it_waits_for_others_in_a_pool_of_threads(reference, retrieval):
  """LAPACK calls of a batch do, and two side by side wait for ever where there are two threads."""
  supports = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), transitions(states_of(10), WEIGHTS[0]))
  program = jax.jit(jax.vmap(retrieval.retrieve, (None, 0, 0))).lower(reference, supports, jax.random.split(KEY, 2))
  assert "lapack" not in program.as_text()


# Keys


def test_a_sample_of_the_posterior_differs_between_keys_where_the_support_says_little(reference):
  """Rows in which tasks 1 and 3 are paid alike: the mean is one mixture, and samples are several."""
  support = transitions(np.tile([[0.0, 1.0]], (SUPPORT, 1)), WEIGHTS[1])
  keys = jax.random.split(KEY, 30)

  def spread_of(draw):
    retrieve = jax.jit(jax.vmap(by_outcomes(rewards, rows=COUNT, draw=draw).retrieve, in_axes=(None, None, 0)))
    found = np.asarray(retrieve(reference, support, keys).final_discount)
    return np.std([np.mean(found == task, axis=1) for task in range(TASKS)], axis=1).max()

  assert spread_of("mean") < 0.08  # of the rows alone
  assert spread_of("sample") > 0.2


def test_the_same_key_draws_the_same_rows_and_another_others(reference, retrieve):
  support = transitions(states_of(10), WEIGHTS[0])
  one, again, other = (retrieve(reference, support, jax.random.key(seed)) for seed in (0, 0, 1))
  chex.assert_trees_all_equal(one, again)
  assert not np.array_equal(one.mc_return, other.mc_return)


def test_compiled_and_mapped_is_as_plain(reference, retrieval, retrieve):
  """Supports that are explained, and others that are not."""
  supports = [transitions(states_of(task, 0.5), (1.0 if task < 2 else 4.0) * WEIGHTS[task]) for task in range(TASKS)]
  keys = jax.random.split(KEY, TASKS)
  mapped = jax.jit(jax.vmap(retrieval.retrieve, in_axes=(None, 0, 0)))(
    reference, jax.tree.map(lambda *leaves: jnp.stack(leaves), *supports), keys
  )
  for task, (support, key) in enumerate(zip(supports, keys, strict=True)):
    alone = retrieve(reference, support, key)
    chex.assert_trees_all_equal(alone, jax.tree.map(lambda leaf, task=task: leaf[task], mapped))
  chex.assert_trees_all_equal(retrieval.retrieve(reference, support, key), alone)


# References


@pytest.fixture(scope="module")
def few_steps():
  """A fit that is not worth much, for what does not depend on it."""
  with pytest.MonkeyPatch.context() as patch:
    for name in ("TRUNK_FIT", "CLASSIFIER_FIT"):
      patch.setattr(reward_model, name, getattr(reward_model, name) | {"steps": 2})
    yield


@pytest.mark.usefixtures("few_steps")
@pytest.mark.parametrize("read", [rewards, changes])
def test_a_reference_has_real_rows_of_each_task_and_the_shapes_of_an_empty_one(read):
  goals = np.array([[0.0, 0.5], [0.5, 0.0], [-0.5, 0.0]])
  dataset = point_dataset(goals, num_episodes=3)
  size = np.array([60, 25, 40], np.int32)
  dataset = dataset._replace(size=size)
  found = make_reference(dataset, read, KEY, rows_per_task=300)
  for task in range(3):
    real = {tuple(row) for row in np.asarray(dataset.observation[task, : size[task]])}
    kept = {tuple(row) for row in np.asarray(found.rows.observation[task])}
    assert kept <= real
    assert len(kept) > 0.9 * len(real)  # its whole history
    distance = np.linalg.norm(found.rows.next_observation[task] - goals[task], axis=-1)
    np.testing.assert_allclose(found.rows.reward[task], -distance, atol=1e-5)
  empty = empty_reference(Problem(2, 2, 3, 0.99, 20), read, rows_per_task=300)
  assert jax.tree.structure(empty) == jax.tree.structure(found)
  for one, other in zip(jax.tree.leaves(empty), jax.tree.leaves(found), strict=True):
    assert (one.shape, one.dtype) == (other.shape, other.dtype)
    assert not np.any(one)
  chex.assert_trees_all_equal(make_reference(dataset, read, KEY, rows_per_task=300), found)
