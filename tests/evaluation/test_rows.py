"""Rows of a result: means over episodes at each stage, and scores by hand."""

import numpy as np
import pytest

from macaw_jax.evaluation.on_policy import on_policy_stages
from macaw_jax.evaluation.online import online_stages
from macaw_jax.evaluation.protocols import offline_stages
from macaw_jax.evaluation.rows import Evaluation, Stages, make_rows, normalised_score
from macaw_jax.types import Algorithm

TASKS = ({"goal": [0.5, -0.5]}, {"goal": [0.0, 0.0]})


def rows_of(returns, **changes):
  known = {"protocol": "online", "split": "test", "indices": [1, 4], "tasks": TASKS}
  stages = Stages(support=40, support_unit="transitions", stages=(0, 1, 2), stage_unit="episodes")
  return make_rows(Evaluation(np.asarray(returns)), stages, **(known | changes))


RETURNS = [[[-20.0, 5.0, 30.0], [0.0, 5.0, 10.0]], np.ones((2, 3))]


def test_a_row_has_means_deviations_and_scores_at_each_stage():
  first, second = rows_of(RETURNS, references=[(-20.0, 30.0), (1.0, 2.0)])
  assert (first.task_index, first.task, first.episodes) == (1, {"goal": [0.5, -0.5]}, 2)
  assert (first.protocol, first.split, first.support, first.stages) == ("online", "test", 40, (0, 1, 2))
  assert (first.support_unit, first.stage_unit) == ("transitions", "episodes")
  assert first.returns == (-10.0, 5.0, 20.0)
  assert first.stds == (10.0, 0.0, 10.0)
  assert first.scores == (20.0, 50.0, 80.0)  # 100 (return + 20) / 50
  assert (second.task_index, second.scores) == (4, (0.0, 0.0, 0.0))


def test_without_references_there_are_no_scores():
  for row in rows_of(RETURNS):
    assert (row.scores, row.references, row.scale) == (None, None, None)


def test_a_task_whose_references_are_equal_has_none():
  first, second = rows_of(RETURNS, references=[(1.0, 1.0), (-20.0, 30.0)], scale=("zeros", "the best"))
  assert (first.scores, first.references) == (None, (1.0, 1.0))
  assert second.scores == (42.0, 42.0, 42.0)
  assert (second.references, second.scale) == ((-20.0, 30.0), ("zeros", "the best"))


@pytest.mark.parametrize("returns", [RETURNS[:1], np.ones((2, 2, 2))])
def test_returns_of_other_tasks_or_stages_are_refused(returns):
  with pytest.raises(ValueError, match="returns of shape"):
    rows_of(returns)


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


def test_stages_begin_without_data_and_count_what_each_protocol_adapts_to():
  assert offline_stages(64) == Stages(64, "transitions", (0, 1), "adaptations")
  assert on_policy_stages(5, 2) == Stages(10, "episodes", (0, 1, 2), "steps")
  parted = Algorithm(*[None] * 4, support_parts=3)
  assert online_stages(parted, horizon=200, num_episodes=2) == Stages(399, "transitions", (0, 1, 2), "episodes")
