"""Whether tasks are told apart where their policies overlap, on data where the answer is known."""

import numpy as np
import pytest
from point_goals import episodes

from macaw_jax.data import reward_model
from macaw_jax.data.dataset import take_episodes
from macaw_jax.data.overlap import TIMES, measure_overlap
from macaw_jax.data.reward_model import rewards

GOALS = np.array([(0.8, 0.0), (-0.8, 0.0), (0.0, 0.8)])


@pytest.fixture(autouse=True)
def short_fits(monkeypatch):
  """Fits of a tenth of a second."""
  monkeypatch.setattr(reward_model, "TRUNK_FIT", reward_model.TRUNK_FIT | {"steps": 600})
  monkeypatch.setattr(reward_model, "CLASSIFIER_FIT", reward_model.CLASSIFIER_FIT | {"steps": 600})


def test_tasks_of_other_goals_are_told_apart_and_equal_ones_are_not():
  goals = [*GOALS, GOALS[0]]  # the last task is the first, with data of its own
  found = measure_overlap(
    [episodes(goal, goal, seed=task, num_episodes=100) for task, goal in enumerate(goals)], rewards
  )
  assert found.shared.shape == found.evidence.shape == (4, 4)
  assert (found.shared[np.arange(4), np.arange(4)] > 0.5).all()
  assert found.least == (0, 3)
  assert found.told_apart.tolist() == [True, True, False, True, True, True]  # the third pair is (0, 3)
  assert found.evidence[0, 3] < TIMES * found.evidence[0, 0]
  assert found.evidence[0, 1] > 10.0 * found.evidence[0, 0]


def test_where_policies_never_meet_nothing_is_told():
  """Each task's data lie in a corner of their own: no row says what another task pays there."""

  def corner(goal, seed):
    data = episodes(goal, goal, seed=seed, num_episodes=100)
    return data._replace(
      observation=data.observation + 40.0 * goal.astype(np.float32),
      final_observation=data.final_observation + 40.0 * goal.astype(np.float32),
    )

  apart = measure_overlap([corner(goal, task) for task, goal in enumerate(GOALS)], rewards)
  met = measure_overlap([episodes(goal, goal, seed=task, num_episodes=100) for task, goal in enumerate(GOALS)], rewards)
  others = ~np.eye(3, dtype=bool)
  assert apart.shared[others].max() < 0.15 < met.shared[others].min()


def test_bad_data_are_refused():
  one = episodes(GOALS[0], GOALS[0])
  with pytest.raises(ValueError, match="two tasks or more"):
    measure_overlap([one], rewards)
  with pytest.raises(ValueError, match="task 0: expected two episodes or more"):
    measure_overlap([take_episodes(one, np.arange(1)), one], rewards)
  with pytest.raises(ValueError, match="task 1: expected finite values"):
    measure_overlap([one, one._replace(reward=np.full_like(one.reward, np.nan))], rewards)
