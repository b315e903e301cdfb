"""How much of a task the latents of an agent hold while it trains.

Latents are read from supports of the training tasks, drawn as in training, and a ridge regression reads the tasks'
parameters from them (`macaw_jax.evaluation.decoding`). R^2 is one where all of the parameters can be read, and near
zero where nothing can: an actor-critic that sees such a latent knows no task from another.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from macaw_jax.envs.family import Task
from macaw_jax.evaluation.decoding import cross_validated_r_squared, flatten_features
from macaw_jax.types import LATENT, Algorithm, Array, Key, Params, TaskBatch

LATENT_R2 = "train/latent_r2"  # the metric
NUM_SUPPORTS = 256  # of all tasks together, at least
MANY_TASKS = 10  # from which on left-out tasks are decoded, and not left-out supports
NOTHING = 0.1  # an R^2 below it; latents without any task in them are decoded with one of 0.00 to 0.03


class Reading(NamedTuple):
  """How well the training tasks' parameters are read from latents."""

  r_squared: float  # NaN where a latent is not finite, or all tasks are equal
  could_hold_all: bool  # whether a latent has as many numbers as the parameters have independent ones

  @property
  def is_nothing(self) -> bool:
    """Whether nothing is read, although the latents could hold the whole of a task."""
    return self.could_hold_all and self.r_squared < NOTHING


ReadLatents = Callable[[Params, Any, Key], Reading]
"""`(params, data, key) -> Reading`, the data those of the source."""


def describe_nothing(reading: Reading) -> str:
  """The line about latents that hold nothing."""
  return (
    f"the latents of training tasks hold nothing of the task ({LATENT_R2} = {reading.r_squared:.2f}, 1 is all of it), "
    "and the policy cannot tell tasks apart; settings of the encoder and weights of its losses decide it, see "
    "docs/algorithms/README.md, How much of a task a latent holds"
  )


def reads_latent(algorithm: Algorithm) -> bool:
  """Whether what the algorithm adapts is the latent of a task."""

  def prior(key: Key) -> dict[str, Params]:
    return algorithm.prior(algorithm.init(key).params, key)

  return LATENT in jax.eval_shape(prior, jax.random.key(0))


def make_read_latents(
  algorithm: Algorithm, sample: Callable[[Any, Key], TaskBatch], tasks: Task, *, tasks_per_batch: int
) -> ReadLatents:
  """The reading of an agent's latents; its program is compiled once.

  Parameters are decoded of tasks that the regression has not seen, or where there are fewer than ten, of supports that
  it has not seen.

  Args:
    algorithm: reads latents.
    sample: `(data, key) -> batch` of the source.
    tasks: the training tasks, leaves `[N, ...]`, in the order of `task_index`.
    tasks_per_batch: T of a batch.
  """
  parameters = flatten_features(tasks)  # [N, P]
  num_batches = -(-NUM_SUPPORTS // tasks_per_batch)

  @jax.jit
  def draw(params: Params, data: Any, key: Key) -> tuple[Array, Array]:
    def batch(key: Key) -> tuple[Array, Array]:
      key_sample, key_adapt = jax.random.split(key)
      drawn = sample(data, key_sample)
      keys = jax.random.split(key_adapt, tasks_per_batch)
      adapted = jax.vmap(algorithm.adapt, in_axes=(None, 0, 0))(params, drawn.support, keys)
      return adapted[LATENT], drawn.task_index

    return jax.lax.map(batch, jax.random.split(key, num_batches))

  def read(params: Params, data: Any, key: Key) -> Reading:
    latents, indices = (np.asarray(leaf) for leaf in draw(params, data, key))
    latents, indices = latents.reshape(-1, latents.shape[-1]), indices.ravel()
    could_hold_all = np.linalg.matrix_rank(parameters - parameters.mean(axis=0)) <= latents.shape[-1]
    if not np.isfinite(latents).all() or len(np.unique(indices)) < 2:
      return Reading(float("nan"), bool(could_hold_all))
    groups = indices if len(parameters) >= MANY_TASKS else np.arange(len(indices))
    return Reading(cross_validated_r_squared(latents, parameters[indices], groups), bool(could_hold_all))

  return read
