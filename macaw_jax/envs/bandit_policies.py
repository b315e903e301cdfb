"""Known answers to Bernoulli bandits: policies that were derived, to hold trained agents against.

A policy scores the arms by their pulls n and wins w so far, and pulls the arm of the highest score, one of equal ones
at random. `as_act` makes an acting function of it, so that it is rolled out as any agent is.

  random    0
  greedy    (w + 1) / (n + 2), the posterior mean under the prior U(0, 1) = Beta(1, 1)
  thompson  a sample of Beta(w + 1, n - w + 1), the posterior
  ucb1      w / n + 0.2 sqrt(2 ln t / n) after t pulls in all; arms that were not pulled yet come first
  gittins   the Gittins index of Beta(w + 1, n - w + 1) under the discount 1 - 1 / N, N the pulls of an episode

The Gittins index is the best answer where rewards are discounted for ever. An episode of N pulls has another objective,
their plain sum; 1 - 1 / N is the discount under which N pulls are to be had on average, and what is lost by it is
little (docs/families/bandit.md).

Sources: Thompson 1933; Auer, Cesa-Bianchi, Fischer 2002 (UCB1, whose factor is 1; Duan et al. 2016 tune it);
Gittins 1979.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from macaw_jax.envs.rollout import Act
from macaw_jax.types import Array, Key, TimeStep

UCB_FACTOR = 0.2
GITTINS_LOOKAHEAD = 500  # pulls beyond the last state of the table, after which an arm counts as known
GITTINS_GRID = 251  # rewards of a known arm that an unknown one is weighed against

Policy = Callable[[Array, Array, Key], Array]
"""`(pulls [K], wins [K], key) -> scores [K]`, a pure function."""


class Counts(NamedTuple):
  """Pulls and wins of each arm so far."""

  pulls: Array  # [..., K]
  wins: Array  # [..., K]


def random(pulls: Array, wins: Array, key: Key) -> Array:
  """Zero: all arms are equal."""
  return jnp.zeros_like(pulls)


def greedy(pulls: Array, wins: Array, key: Key) -> Array:
  """The posterior mean (w + 1) / (n + 2)."""
  return (wins + 1.0) / (pulls + 2.0)


def thompson(pulls: Array, wins: Array, key: Key) -> Array:
  """A sample of the posterior Beta(w + 1, n - w + 1)."""
  return jax.random.beta(key, wins + 1.0, pulls - wins + 1.0)


def ucb1(pulls: Array, wins: Array, key: Key) -> Array:
  """The bound w / n + 0.2 sqrt(2 ln t / n), t the pulls of all arms; infinite where n is zero."""
  count = jnp.maximum(pulls, 1.0)
  width = jnp.sqrt(2.0 * jnp.log(jnp.maximum(jnp.sum(pulls), 1.0)) / count)
  return jnp.where(pulls > 0.0, wins / count + UCB_FACTOR * width, jnp.inf)


def gittins(num_pulls: int) -> Policy:
  """The policy of the Gittins index for episodes of `num_pulls` pulls, of at least 2."""
  table = jnp.asarray(gittins_table(num_pulls, 1.0 - 1.0 / num_pulls), jnp.float32)

  def policy(pulls: Array, wins: Array, key: Key) -> Array:
    return table[wins.astype(int), (pulls - wins).astype(int)]

  return policy


def make_policies(num_pulls: int) -> dict[str, Policy]:
  """All policies by name, for episodes of `num_pulls` pulls."""
  return {
    "random": random,
    "greedy": greedy,
    "thompson": thompson,
    "ucb1": ucb1,
    "gittins": gittins(num_pulls),
  }


def no_counts(num_arms: int) -> Counts:
  """No arm was pulled yet."""
  return Counts(jnp.zeros(num_arms), jnp.zeros(num_arms))


def as_act(policy: Policy) -> Act:
  """The acting function of a policy: `adapted` are its `Counts`, the action is one-hot, [K]; it reads no parameters."""

  def act(params: Any, counts: Counts, timestep: TimeStep, key: Key | None) -> tuple[Array, Counts]:
    chex.assert_equal_shape([counts.pulls, counts.wins, timestep.action])
    assert key is not None, "these policies draw"
    num_arms = len(counts.pulls)
    pulled = (1.0 - timestep.first) * jax.nn.one_hot(jnp.argmax(timestep.action), num_arms)
    counts = Counts(counts.pulls + pulled, counts.wins + timestep.reward * pulled)
    key_scores, key_ties = jax.random.split(key)
    scores = policy(counts.pulls, counts.wins, key_scores)
    order = jnp.where(scores == jnp.max(scores), jax.random.uniform(key_ties, (num_arms,)), -1.0)
    return jax.nn.one_hot(jnp.argmax(order), num_arms), counts

  return act


def regret(probability: Array, choices: Array) -> Array:
  """The expected regret of an episode against the best arm: sum_t (max_k p_k - p_{c_t}), [].

  Args:
    probability: p of each arm, [K].
    choices: c_t, the index of the arm that was pulled at each step, [H].
  """
  chex.assert_rank([probability, choices], 1)
  return jnp.sum(jnp.max(probability) - probability[choices])


def gittins_table(num_pulls: int, discount: float) -> np.ndarray:
  """The Gittins indices of Bernoulli arms, float64 [num_pulls, num_pulls]: entry (w, l) after w wins and l losses.

  The index of a state is the reward m of a known arm at which it makes no difference whether the known arm is pulled
  for ever, which is worth m / (1 - discount), or the unknown one first. With p = (w + 1) / (w + l + 2)

    Q_m(w, l) = p (1 + discount V_m(w + 1, l)) + (1 - p) discount V_m(w, l + 1)
    V_m(w, l) = max(m / (1 - discount), Q_m(w, l))

  and the index is the root of Q_m - m / (1 - discount), found between two of 251 values of m on [0, 1]. Backward
  induction begins 500 pulls beyond the last state of the table, where an arm counts as known: V_m = max(m, p) / (1 -
  discount). Entries with w + l >= num_pulls are NaN.

  Raises:
    ValueError: a number is out of its range.
  """
  if num_pulls < 1 or not 0.0 < discount < 1.0:
    raise ValueError(
      f"num_pulls={num_pulls}, discount={discount}: expected at least 1 pull and a discount between 0 and 1"
    )
  known = np.linspace(0.0, 1.0, GITTINS_GRID)[:, None]  # [M, 1]
  stopped = known / (1.0 - discount)
  last = num_pulls + GITTINS_LOOKAHEAD
  table = np.full((num_pulls, num_pulls), np.nan)
  value = np.maximum(known, (np.arange(last + 1) + 1.0) / (last + 2.0)) / (1.0 - discount)  # [M, wins]
  for pulls in range(last - 1, -1, -1):
    wins = np.arange(pulls + 1)
    mean = (wins + 1.0) / (pulls + 2.0)
    going_on = mean * (1.0 + discount * value[:, 1:]) + (1.0 - mean) * discount * value[:, :-1]  # [M, wins]
    if pulls < num_pulls:
      table[wins, pulls - wins] = _root(known[:, 0], going_on - stopped)
    value = np.maximum(stopped, going_on)
  return table


def _root(x: np.ndarray, y: np.ndarray) -> np.ndarray:
  """Where the columns of y [M, N], positive and then negative over x [M], cross zero, by linear interpolation, [N]."""
  after, column = np.argmax(y <= 0.0, axis=0), np.arange(y.shape[1])
  high, low = y[after - 1, column], y[after, column]
  found: np.ndarray = x[after - 1] + (x[after] - x[after - 1]) * high / (high - low)
  return found
