"""A test of "A is better than B" that looks after every few seeds, and says how many it needed.

Mathieu, Della Vecchia, Shilova, Centa de Medeiros, Kohler, Maillard, Preux 2023, "AdaStop: adaptive statistical testing
for sound comparisons of Deep RL agents" (arXiv:2306.10882), algorithm 1.

Seeds come in K blocks of n. Under the hypothesis that two agents do not differ, their 2n scores of a block may change
places. The statistic after k blocks is |sum over blocks of the difference of means|, and a threshold cuts off the share
`level` k / K of its distribution over all such exchanges, counting those that an earlier look has cut off already. An
agent is called better at the first look at which the statistic is above its threshold. The probability of ever calling
one of several agents better that is not is at most `level`: thresholds are those of the largest statistic of all pairs
that are undecided.
"""

import itertools
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

Pair = tuple[str, str]


class Verdict(NamedTuple):
  """The result for two agents."""

  better: str | None  # the agent that is better; None where no difference was shown
  seeds: int  # of each agent, at the look that decided, or in all


def compare_sequentially(
  scores: Mapping[str, np.ndarray],
  *,
  block_size: int,
  level: float = 0.05,
  resamples: int = 10_000,
  seed: int = 0,
) -> dict[Pair, Verdict]:
  """Compares every pair of agents, with a look after each block of seeds.

  Args:
    scores: of each agent one number a seed, `[K n]`, in the order in which the seeds were run.
    block_size: n. Seeds beyond the last whole block are not looked at.
    level: the probability of an error that is allowed in all looks at all pairs together.
    resamples: exchanges that are drawn; the first is none at all, so that a share is never zero.
    seed: of the draws.

  Raises:
    ValueError: there are fewer than two agents, or not as many seeds of each, or no whole block.
  """
  sizes = {len(of_agent) for of_agent in scores.values()}
  if len(scores) < 2 or len(sizes) > 1 or min(sizes) < block_size or block_size < 1:
    raise ValueError(
      f"expected two agents or more with the same number of seeds, at least {block_size}, got "
      f"{ {name: len(of_agent) for name, of_agent in scores.items()} }"
    )
  looks = sizes.pop() // block_size
  seeds = looks * block_size
  blocks = {name: np.asarray(of_agent, float)[:seeds].reshape(looks, -1) for name, of_agent in scores.items()}
  undecided = list(itertools.combinations(scores, 2))
  differences = {pair: _differences(blocks[pair[0]], blocks[pair[1]], resamples, seed) for pair in undecided}  # [R, K]
  verdicts: dict[Pair, Verdict] = {}
  passed = np.ones(resamples, bool)  # the exchanges that no earlier look has cut off
  for look in range(looks):
    spent = float(np.mean(~passed))
    cut = ~passed
    while undecided:  # step-down: without the pair that was decided, thresholds of the others may be lower
      statistic = np.max([np.abs(differences[pair][:, look]) for pair in undecided], axis=0)  # [R]
      threshold = _threshold(statistic[passed], level * (look + 1) / looks - spent, resamples)
      cut = ~passed | (statistic > threshold)
      observed = {pair: differences[pair][0, look] for pair in undecided}
      largest = max(undecided, key=lambda pair: abs(observed[pair]))
      if not abs(observed[largest]) > threshold:
        break
      verdicts[largest] = Verdict(largest[0] if observed[largest] > 0 else largest[1], (look + 1) * block_size)
      undecided.remove(largest)
    passed = ~cut
  return {pair: verdicts.get(pair, Verdict(None, looks * block_size)) for pair in itertools.combinations(scores, 2)}


def _differences(ours: np.ndarray, theirs: np.ndarray, resamples: int, seed: int) -> np.ndarray:
  """Sums of the differences of block means up to each look, under exchanges within blocks; the first is as observed."""
  both = np.concatenate([ours, theirs], axis=1)  # [K, 2 n]
  rng = np.random.default_rng(seed)  # The same exchanges for every pair, so that their statistics have a joint maximum.
  order = np.argsort(rng.random((resamples, *both.shape)), axis=-1)  # [R, K, 2 n]
  order[0] = np.arange(both.shape[1])
  exchanged = np.take_along_axis(both[None], order, axis=-1)
  size = ours.shape[1]
  return np.cumsum(exchanged[..., :size].mean(axis=-1) - exchanged[..., size:].mean(axis=-1), axis=-1)


def _threshold(statistics: np.ndarray, share: float, resamples: int) -> float:
  """The least number that at most this share of all exchanges is above."""
  allowed = int(np.floor(share * resamples + 1e-9))
  if allowed < 1:
    return np.inf
  return float(np.sort(statistics)[::-1][allowed]) if allowed < len(statistics) else -np.inf
