"""By which number the best checkpoint is chosen."""

import math

from finished_runs import make_row

from macaw_jax.training.session import training_score


def trained(task, score=None, value=7.0):
  return make_row((0.0, value), None if score is None else (0.0, score), split="train", task_index=task)


def test_the_mean_score_of_the_training_tasks_that_have_one():
  tested = make_row((0.0, 1.0), (0.0, 99.0))
  assert training_score([trained(0, 50.0), trained(1, 80.0), trained(2), tested]) == 65.0


def test_the_mean_return_where_no_task_has_a_score():
  assert training_score([trained(0, value=2.0), trained(1, value=4.0)]) == 3.0


def test_none_without_training_tasks_and_where_a_number_is_not_finite():
  assert training_score([make_row((0.0, 1.0), (0.0, 99.0))]) is None
  assert training_score([trained(0, math.nan), trained(1, 80.0)]) is None
  assert training_score([trained(0, 50.0), trained(1, value=math.inf)]) is None
