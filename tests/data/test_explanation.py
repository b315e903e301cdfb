"""Supports of a point's goals, explained by other goals before any training."""

import jax
import numpy as np
import pytest
from point_goals import point_dataset

from macaw_jax.data import reward_model
from macaw_jax.data.explanation import explain_supports
from macaw_jax.data.retrieval import make_reference
from macaw_jax.data.reward_model import rewards
from macaw_jax.evaluation.changed_rewards import with_rewards

AXIS = np.linspace(-0.8, 0.8, 4)
TRAIN = np.stack(np.meshgrid(AXIS, AXIS), axis=-1).reshape(-1, 2)  # sixteen goals on a grid
TEST = np.array([[0.2, 0.3], [-0.4, 0.1], [0.5, -0.5]])  # between them


@pytest.fixture(scope="module")
def explained():
  """Twelve supports of each goal: its own policy's, another's, and its own with rewards that are all the same."""
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(reward_model, "TRUNK_FIT", reward_model.TRUNK_FIT | {"steps": 1_500})
    patch.setattr(reward_model, "CLASSIFIER_FIT", reward_model.CLASSIFIER_FIT | {"steps": 800})
    reference = make_reference(point_dataset(TRAIN), rewards, jax.random.key(0), rows_per_task=50)
  own = point_dataset(TEST, seed=50)
  sources = {
    "own": own,
    "other": point_dataset(TEST, np.roll(TEST, 1, axis=0), seed=90),
    "constant": with_rewards(own, 1.0, 0.99),
  }
  key = jax.random.key(1)
  return explain_supports(reference, rewards, sources, own, key, support_size=128, num_supports=12)


@pytest.mark.parametrize("source", ["own", "other"])
def test_tasks_are_explained_whoever_collected_a_support(explained, source):
  found = explained[source]
  assert found.shares.shape == (3, 12, 16)
  np.testing.assert_allclose(found.shares.sum(axis=-1), 1.0, rtol=1e-4)
  distance = np.linalg.norm(found.shares @ TRAIN - TEST[:, None], axis=-1)
  assert np.median(distance) < 0.15  # of 0.53 between goals of the grid
  assert np.median(found.r_squared) > 0.8
  assert np.median(found.within) > 0.4
  assert not found.is_silent.any()


def test_rewards_that_are_all_the_same_say_nothing(explained):
  found = explained["constant"]
  assert found.is_silent.all()
  assert not found.is_kept.any()
  assert np.median(found.r_squared) < 0.0


def test_a_support_is_no_larger_than_its_task():
  data = point_dataset(TEST, num_episodes=2)
  with pytest.raises(ValueError, match="own: expected 41 transitions of each task or more, got 40"):
    explain_supports(None, rewards, {"own": data}, data, jax.random.key(0), support_size=41, num_supports=1)
