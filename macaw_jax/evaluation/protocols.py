"""Evaluation protocols: from which data a test task is learned, and how the agent is scored.

A protocol is a function `(params, statistics, ..., key) -> Evaluation`, undiscounted returns of E episodes on each of T
tasks at K + 1 stages of adaptation. Parameters and statistics are arguments of its compiled programs, so that members
of a population share them. Every row of a result names its protocol, so that numbers of different protocols are not
compared unseen.

  offline                 a random batch of the task's own data
  offline_other_policy    the same from episodes of other tasks' policies: finds out an agent that reads the behaviour
                          policy in place of the task; ..._start and ..._middle: of policies that had learned less
  offline_random_policy   the same from uniformly random actions (`macaw_jax.evaluation.random_policy`)
  online                  the agent's own episodes, one after the other (`macaw_jax.evaluation.online`)
  on_policy               sets of the agent's own episodes, one before each adaptation step
                          (`macaw_jax.evaluation.on_policy`)

The offline ones are here. Stage 0 is the agent before adaptation, `Algorithm.prior` drawn for each episode; stage
1 is the agent adapted to a support. `offline` is the protocol of MACAW (Mitchell et al. 2021, section 5), there one
batch and one deterministic episode. Here every episode has a batch of its own: what an agent is worth depends on the
batch as much as on the start, and one batch says little.
"""

from collections.abc import Callable, Sequence

import chex
import jax
import jax.numpy as jnp
import numpy as np

from macaw_jax.collection.acting import act_on_raw_timesteps, make_draw_priors
from macaw_jax.data.dataset import Dataset
from macaw_jax.data.relabel import OTHER_POLICIES
from macaw_jax.data.sampling import gather, random_slice, random_subset
from macaw_jax.data.statistics import Statistics
from macaw_jax.envs.family import Task, TaskFamily
from macaw_jax.envs.rollout import Engine, episode_return, make_rollout
from macaw_jax.evaluation.rows import Evaluation, Stages
from macaw_jax.types import Algorithm, Array, Key, Params, Trajectory

# By whose episodes an agent adapts to: the task's own policy's, other tasks', random ones, or the agent's own.
PROTOCOLS = {
  "own": "offline",
  "other_policies_start": "offline_other_policy_start",
  "other_policies_middle": "offline_other_policy_middle",
  "other_policies": "offline_other_policy",
  "random": "offline_random_policy",
  "online": "online",
  "on_policy": "on_policy",
}
THEN_OWN_EPISODES = "_then_own_episodes"  # ends the name where the agent goes on learning (`fine_tuning`)
RECORDED = ("own", *OTHER_POLICIES)  # episodes that are read from data


OfflineProtocol = Callable[[Params, Statistics, Dataset, Task, Key], Evaluation]
"""`(params, statistics, dataset, tasks, key) -> returns [T, E, 2]` before and after adaptation.

The statistics scale what the agent sees in episodes, and have scaled the dataset; the tasks, leaves `[T, ...]`, are the
dataset's. The key decides supports and starts; episode e of a task starts in the same state at both stages. Raises
ValueError if a task has fewer transitions than a support.
"""

# How the rows of a support are drawn; TD(lambda) needs consecutive ones.
SUPPORT_ORDERS = {"uniform": random_subset, "contiguous": random_slice}


def make_adapt(
  algorithm: Algorithm, support_size: int, num_supports: int, order: str = "uniform"
) -> Callable[[Params, Dataset, Key], dict[str, Params]]:
  """Adaptation to every task of a dataset on random supports: `(params, dataset, key) -> adapted [T * S, ...]`.

  The `num_supports` S adaptations to a task stand side by side. `order` is a name in `SUPPORT_ORDERS`.

  Raises, when called:
    ValueError: a task has fewer than `support_size` transitions.
  """

  @jax.jit
  def adapt(params: Params, dataset: Dataset, key: Key) -> dict[str, Params]:
    def one(task_index: Array, key: Key) -> dict[str, Params]:
      key_rows, key_adapt = jax.random.split(key)
      rows = SUPPORT_ORDERS[order](key_rows, dataset.size[task_index], support_size)
      return algorithm.adapt(params, gather(dataset, task_index, rows), key_adapt)

    task_index = jnp.repeat(jnp.arange(dataset.size.shape[0]), num_supports)
    return jax.vmap(one)(task_index, jax.random.split(key, len(task_index)))

  def checked(params: Params, dataset: Dataset, key: Key) -> dict[str, Params]:
    smallest = int(np.min(dataset.size))
    if smallest < support_size:
      raise ValueError(f"a support of {support_size} transitions a task; the smallest task has {smallest}")
    return adapt(params, dataset, key)

  return checked


def make_offline_protocol(
  algorithm: Algorithm,
  family: TaskFamily,
  *,
  support_size: int,
  num_episodes: int,
  order: str = "uniform",
  engine: Engine = "native",
) -> OfflineProtocol:
  """An offline protocol, by the data that it is given; all is compiled once for each number of tasks.

  Arguments as of `evaluate.offline`. `num_episodes` is E, the deterministic episodes of each task before adaptation and
  after, each after an adaptation of its own.
  """
  adapt = make_adapt(algorithm, support_size, num_episodes, order)
  rollout = make_rollout(family, act_on_raw_timesteps(algorithm.act), engine)
  draw_priors = make_draw_priors(algorithm)

  def evaluate(params: Params, statistics: Statistics, dataset: Dataset, tasks: Task, key: Key) -> Evaluation:
    num_tasks = dataset.size.shape[0]
    chex.assert_tree_shape_prefix(tasks, (num_tasks,))
    key_adapt, key_episodes = jax.random.split(key)
    key_prior = jax.random.fold_in(key, 2)  # so that the keys above stay what they were
    repeated = jax.tree.map(lambda leaf: jnp.repeat(leaf, num_episodes, axis=0), tasks)  # [T * E, ...]

    def episodes(adapted: dict[str, Params]) -> Trajectory:
      # The same key before and after: both meet the same starts, so that their difference is adaptation.
      return rollout((params, statistics), adapted, repeated, key_episodes)

    before = episode_return(episodes(draw_priors(params, jax.random.split(key_prior, num_tasks * num_episodes))))
    after = episodes(adapt(params, dataset, key_adapt))
    return evaluation_of([before, episode_return(after)], after, num_tasks)

  return evaluate


def evaluation_of(returns: Sequence[Array], last: Trajectory, num_tasks: int) -> Evaluation:
  """The evaluation from returns `[T * E]` at each stage and the last stage's episodes, those of a task side by side."""
  by_stage = np.stack([np.asarray(values, np.float64).reshape(num_tasks, -1) for values in returns], axis=-1)
  num_episodes = by_stage.shape[1]
  return Evaluation(by_stage, jax.tree.map(lambda leaf: np.asarray(leaf[::num_episodes]), last.state))


def offline_stages(support_size: int) -> Stages:
  """Before and after adaptation to so many transitions."""
  return Stages(support=support_size, support_unit="transitions")
