import numpy as np

from macaw_jax.data.scores import normalised_score


def test_normalised_score_by_hand():
  # Between -20 and 180 lie 200: -20 scores 0, 30 a quarter, 180 all, 200 more than the expert, -60 less than random.
  scores = normalised_score(np.array([-20.0, 30.0, 180.0, 200.0, -60.0]), -20.0, 180.0)
  np.testing.assert_allclose(scores, [0.0, 25.0, 100.0, 110.0, -20.0])


def test_each_task_has_its_own_references():
  scores = normalised_score(np.array([[1.0, 10.0], [2.0, 20.0]]), np.array([0.0, 10.0]), np.array([2.0, 30.0]))
  np.testing.assert_allclose(scores, [[50.0, 0.0], [100.0, 50.0]])


def test_a_task_on_which_the_expert_does_no_better_than_random_has_no_score():
  scores = normalised_score(np.array([0.0, 1.0]), np.array([0.0, 0.0]), np.array([0.0, 2.0]))
  np.testing.assert_array_equal(scores, [np.nan, 50.0])
