"""How well a task can be told from k of its transitions, before anything is meta-trained.

A probe, a small classifier of single transitions, is fitted to every second episode of each task. From the others k
transitions of one task are drawn, their log-probabilities summed, and the most likely task is the guess:

  guess = argmax_t  sum_i log p(t | x_i)

It is fitted twice. *Everything* is x = (s, a, r, s' - s), all that adaptation is given. *Behaviour* is x = (s, a):
where the task changes rewards or physics alone, these tell the behaviour policy and not the task. A dataset whose
tasks are told by behaviour lets an agent adapt to the collector's policy instead of to the task; on data of another
policy, its own at first, it is then lost. What rewards and transitions add is what is better with everything.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from macaw_jax.data.dataset import Episodes, next_observations
from macaw_jax.data.perceptron import Layers, apply_layers, fit, init_layers
from macaw_jax.types import Array, Key

NUM_TRANSITIONS = (1, 4, 16, 64, 256)
# What the probe costs, whatever the dataset.
FITTED_ROWS, DRAWS = 40_000, 4_000  # of all tasks together
HELD_OUT_ROWS = 1_000  # of a task
BATCH_SIZE, WIDTH = 256, 128
FIT: dict[str, Any] = {"steps": 1_500, "learning_rate": 2e-3, "weight_decay": 1e-2}
_MOST_DEVIATIONS = 10.0  # a rare large value must not decide


class Recognition(NamedTuple):
  """How well tasks are told from k transitions, in the mean over tasks and draws."""

  accuracy: np.ndarray  # [K]  fraction of draws whose guess is the task itself
  rank: np.ndarray  # [K]  place of the task among all in the order of likelihood; 1 is the guess, ties share theirs
  distance: np.ndarray  # [K]  Euclidean distance of the guess's parameters to the task's


class Identifiability(NamedTuple):
  """The probe's recognition beside that of a uniformly random guess."""

  num_transitions: tuple[int, ...]  # the numbers k; those that each task has
  everything: Recognition
  behaviour: Recognition
  chance: Recognition  # the same at each k


def measure_identifiability(
  episodes_by_task: Sequence[Episodes], parameters: np.ndarray, *, seed: int = 0
) -> Identifiability:
  """Fits the probes and tries them on the episodes that they have not seen.

  Args:
    episodes_by_task: two tasks or more, each of two episodes or more, all values finite.
    parameters: `[T, P]`, numbers that make the tasks, in units that may be compared.
    seed: decides on rows, draws and initial weights; the same seed gives the same numbers.

  Raises:
    ValueError: there are fewer tasks or episodes, or values that are not finite.
  """
  num_tasks = len(episodes_by_task)
  if num_tasks < 2:
    raise ValueError(f"expected two tasks or more to tell apart, got {num_tasks}")
  rng = np.random.default_rng(seed)
  fitted, held_out = [], []
  for task, episodes in enumerate(episodes_by_task):
    if len(episodes.episode_length) < 2:
      raise ValueError(f"task {task}: expected two episodes or more, one to fit and one to try, got 1")
    observation = episodes.observation.astype(np.float64)
    change = next_observations(episodes) - observation
    features = np.concatenate(
      [observation, episodes.action, episodes.reward[:, None], change], axis=1
    )  # [N, 2 O + A + 1]
    if not np.isfinite(features).all():
      raise ValueError(f"task {task}: expected finite values")
    odd = np.repeat(np.arange(len(episodes.episode_length)) % 2 == 1, episodes.episode_length)
    fitted.append(rng.permutation(features[~odd])[: max(FITTED_ROWS // num_tasks, 1)])
    held_out.append(rng.permutation(features[odd])[:HELD_OUT_ROWS])
  task_index = np.repeat(np.arange(num_tasks), [len(rows) for rows in fitted])
  rows = np.concatenate(fitted)
  mean, std = rows.mean(axis=0), rows.std(axis=0)
  std = np.where(std > 1e-6 * (1.0 + np.abs(mean)), std, 1.0)  # an entry that never moves says nothing
  scale = lambda rows: np.clip((rows - mean) / std, -_MOST_DEVIATIONS, _MOST_DEVIATIONS).astype(np.float32)  # noqa: E731
  rows, held_out = scale(rows), [scale(rows) for rows in held_out]

  counts = tuple(count for count in NUM_TRANSITIONS if count <= min(map(len, held_out)))
  # Each row of an order gives draws without replacement, for every k.
  orders = [np.argsort(rng.random((-(-DRAWS // num_tasks), len(rows))), axis=1) for rows in held_out]
  draws = [[order[:, :count] for count in counts] for order in orders]
  distances = np.linalg.norm(parameters[:, None] - parameters[None], axis=-1)
  observed = episodes_by_task[0].observation.shape[1] + episodes_by_task[0].action.shape[1]

  def recognise(columns: slice, key: Key) -> Recognition:
    probe = _fit(jnp.asarray(rows[:, columns]), jnp.asarray(task_index), key, num_tasks=num_tasks)
    log_probabilities = jax.jit(lambda rows: jax.nn.log_softmax(apply_layers(probe, rows)))  # [B, F] -> [B, T]
    likelihood = [np.asarray(log_probabilities(rows[:, columns]), np.float64) for rows in held_out]
    return _recognition(likelihood, draws, distances)

  key_everything, key_behaviour = jax.random.split(jax.random.key(seed))
  return Identifiability(
    num_transitions=counts,
    everything=recognise(slice(None), key_everything),
    behaviour=recognise(slice(observed), key_behaviour),
    chance=Recognition(
      accuracy=np.full(len(counts), 1.0 / num_tasks),
      rank=np.full(len(counts), (num_tasks + 1) / 2),
      distance=np.full(len(counts), distances.mean()),
    ),
  )


def _recognition(
  log_probabilities: Sequence[np.ndarray], draws: Sequence[Sequence[np.ndarray]], distances: np.ndarray
) -> Recognition:
  """From `[rows, T]` log-probabilities of each task's held-out rows."""
  found = []
  for task, of_rows in enumerate(log_probabilities):
    for rows in draws[task]:
      total = of_rows[rows].sum(axis=1)  # [draws, T]
      guess = total.argmax(axis=1)
      own = total[:, [task]]
      rank = 1.0 + (total > own).sum(axis=1) + 0.5 * ((total == own).sum(axis=1) - 1)
      found.append(((guess == task).mean(), rank.mean(), distances[task, guess].mean()))
  return Recognition(*np.reshape(found, (len(log_probabilities), -1, 3)).mean(axis=0).T)


def _fit(rows: Array, task_index: Array, key: Key, *, num_tasks: int) -> Layers:
  """A classifier: minimises the cross-entropy of `task_index` [B] given `rows` [B, F], tasks equally likely."""
  key_init, key_steps = jax.random.split(key)
  # Its first answer is the same for all tasks.
  layers = init_layers(key_init, (rows.shape[1], WIDTH, WIDTH, num_tasks), output_scale=0.0)
  # A task of few rows is drawn as often as the others.
  share = 1.0 / jnp.bincount(task_index, length=num_tasks)[task_index]
  data = (rows, task_index, jnp.cumsum(share) / num_tasks)
  return fit(_cross_entropy, layers, data, key_steps, **FIT)


def _cross_entropy(layers: Layers, data: tuple[Array, ...], key: Key) -> Array:
  rows, task_index, bounds = data
  batch = jnp.searchsorted(bounds, jax.random.uniform(key, (BATCH_SIZE,)))
  batch = jnp.minimum(batch, len(rows) - 1)
  logits = apply_layers(layers, rows[batch])
  return optax.softmax_cross_entropy_with_integer_labels(logits, task_index[batch]).mean()
