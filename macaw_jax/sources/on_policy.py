"""Tasks to act in as a source: every update begins with episodes of the present policy.

Collecting is part of the update, in the compiled loop with it: the data of this source are the training tasks of a
family, and a batch is some of them. So populations and checkpoints hold for on-policy agents as they stand.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from macaw_jax.collection.on_policy import experience_task
from macaw_jax.data.statistics import no_scaling
from macaw_jax.envs.family import Task, TaskFamily
from macaw_jax.envs.rollout import episode_return
from macaw_jax.envs.sampled_rollout import SampledRollout
from macaw_jax.sources.source import Source
from macaw_jax.types import Algorithm, Array, Key, Metrics, TaskBatch, TrainState, Trajectory


def on_policy(family: TaskFamily, *, tasks_per_update: int) -> Source:
  """A source of `tasks_per_update` distinct training tasks of a family, for an algorithm that `collecting` has wrapped.

  Observations and rewards are not scaled: the agent acts before there are data.
  """
  chosen = np.asarray(family.train_tasks)

  return Source(
    init=lambda params, key: jax.tree.map(lambda leaf: np.asarray(leaf)[chosen], family.tasks),
    sample=partial(sample_distinct_tasks, num_tasks=tasks_per_update),
    statistics=lambda tasks: no_scaling(family.observation_size),
    tasks_per_update=tasks_per_update,
    task_names=family.train_tasks,
  )


def sample_distinct_tasks(tasks: Task, key: Key, *, num_tasks: int) -> Task:
  """`num_tasks` different ones of the tasks `[N, ...]`, leaves `[num_tasks, ...]`."""
  available = len(jax.tree.leaves(tasks)[0])
  chosen = jax.random.choice(key, available, (num_tasks,), replace=False)
  return jax.tree.map(lambda leaf: jnp.asarray(leaf)[chosen], tasks)


def collecting(algorithm: Algorithm, rollout: SampledRollout, *, num_episodes: int, inner_steps: int = 1) -> Algorithm:
  """The algorithm whose `update` takes tasks of a family, leaves `[T, ...]`, acts in them, and learns from that.

  In each task: `num_episodes` episodes before each of the `inner_steps` inner steps, the support, and as many with the
  adapted policy, the query. Without inner steps the support is None, as for an agent that learns while it acts. Metrics
  get `return_before` and `return_after`, the mean undiscounted returns before the first inner step and after the last,
  and `environment_steps_of_update`, summed over its tasks.
  """

  def act_in(params: object, task: Task, key: Key) -> tuple[Trajectory | None, Trajectory, Array]:
    key_experience, key_query = jax.random.split(key)
    experience = experience_task(
      algorithm, rollout, params, task, key_experience, num_episodes=num_episodes, adaptation_steps=inner_steps
    )
    query = rollout(params, experience.adapted, task, key_query, num_episodes)
    returns = jnp.concatenate([experience.returns, episode_return(query)[None]])
    return experience.support, query, returns[0]

  def update(state: TrainState, tasks: Task, key: Key) -> tuple[TrainState, Metrics]:
    num_tasks = len(jax.tree.leaves(tasks)[0])
    key_collect, key_update = jax.random.split(key)
    with jax.named_scope("collecting"):
      support, query, returns_before = jax.vmap(act_in, (None, 0, 0))(
        state.params, tasks, jax.random.split(key_collect, num_tasks)
      )
    batch = TaskBatch(support, query, jnp.arange(num_tasks))
    state, metrics = algorithm.update(state, batch, key_update)
    return state, metrics | {
      "return_before": jnp.mean(returns_before),
      "return_after": jnp.mean(episode_return(query)),
      "environment_steps_of_update": jnp.sum(query.mask) + (0.0 if support is None else jnp.sum(support.mask)),
    }

  return algorithm._replace(update=update)
