"""The sequential test: its decisions, how often it errs, and against the permutation test of SciPy."""

import numpy as np
import pytest
from scipy import stats

from macaw_jax.study.sequential_test import Verdict, compare_sequentially


def mean_difference(x, y, axis):
  return np.mean(x, axis=axis) - np.mean(y, axis=axis)


@pytest.mark.parametrize("seed", range(8))
def test_one_look_at_two_agents_is_the_permutation_test(seed):
  rng = np.random.default_rng(seed)
  ours, theirs = rng.normal(size=5) + 0.3 * seed, rng.normal(size=5)
  p = stats.permutation_test((ours, theirs), mean_difference, vectorized=True, n_resamples=np.inf).pvalue
  if 0.04 < p < 0.06:
    pytest.skip("too near the level for exchanges that are drawn")
  found = compare_sequentially({"a": ours, "b": theirs}, block_size=5)["a", "b"]
  assert (found.better is not None) == (p <= 0.05)


def test_a_large_difference_is_seen_at_the_first_look_that_can_see_it():
  scores = {"weak": np.arange(20.0), "strong": 100.0 + np.arange(20.0)}
  assert compare_sequentially(scores, block_size=5) == {("weak", "strong"): Verdict("strong", 5)}
  # Of three seeds a tenth of all exchanges is as extreme, of two blocks of three a two hundredth.
  assert compare_sequentially(scores, block_size=3, level=0.05)["weak", "strong"].seeds == 6


def test_three_seeds_in_one_look_can_show_nothing():
  scores = {"weak": np.zeros(3), "strong": 100.0 + np.arange(3)}
  assert compare_sequentially(scores, block_size=3) == {("weak", "strong"): Verdict(None, 3)}


def test_errors_of_all_pairs_and_looks_together_are_as_rare_as_asked_for():
  wrong = 0
  for seed in range(300):
    rng = np.random.default_rng(seed)
    verdicts = compare_sequentially(
      {name: rng.normal(size=15) for name in "abc"}, block_size=5, level=0.1, resamples=1_000, seed=seed
    )
    wrong += any(verdict.better for verdict in verdicts.values())
  assert wrong / 300 <= 0.15  # 0.1, and three standard deviations
  assert wrong > 0


def test_a_smaller_difference_is_found_beside_a_large_one():
  rng = np.random.default_rng(0)
  scores = {"a": rng.normal(size=20), "b": rng.normal(size=20) + 3.0, "c": rng.normal(size=20) + 300.0}
  verdicts = compare_sequentially(scores, block_size=10)
  assert [verdict.better for verdict in verdicts.values()] == ["b", "c", "c"]


@pytest.mark.parametrize(
  ("scores", "block_size"),
  [({"a": np.zeros(5)}, 5), ({"a": np.zeros(5), "b": np.zeros(4)}, 2), ({"a": np.zeros(4), "b": np.zeros(4)}, 5)],
)
def test_what_cannot_be_compared_is_refused(scores, block_size):
  with pytest.raises(ValueError, match="expected two agents or more"):
    compare_sequentially(scores, block_size=block_size)
