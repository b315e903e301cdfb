"""A trained agent, taken out of its run: it adapts to arrays in the environment's own units, and acts."""

import dataclasses
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from macaw_jax.algorithms.settings import make_algorithm
from macaw_jax.collection.acting import act_on_raw_timesteps
from macaw_jax.data.dataset import Episodes, dataset_of
from macaw_jax.data.sampling import gather
from macaw_jax.data.statistics import Statistics, normalise
from macaw_jax.errors import ConfigurationError
from macaw_jax.retrieval import RetrievalSettings, with_retrieval
from macaw_jax.training.run_directory import RETRIEVAL, read_document
from macaw_jax.training.trained import NEWEST, load_checkpoint
from macaw_jax.types import Algorithm, Key, Params, Problem, TimeStep

Adapted = dict[str, Params]


@dataclasses.dataclass(frozen=True)
class Agent:
  """Parameters with the algorithm that reads them, and the scales by which it sees an environment.

  Attributes:
    algorithm: adapts and acts.
    params: of the agent.
    statistics: scales of observations and returns.
    discount: gamma of the returns in a support.
    step: updates that the parameters have had.
  """

  algorithm: Algorithm
  params: Params
  statistics: Statistics
  discount: float
  step: int = 0

  def prior(self, key: Key | None = None) -> Adapted:
    """The agent in a task that it has seen nothing of."""
    return self.algorithm.prior(self.params, jax.random.key(0) if key is None else key)

  def adapt(self, episodes: Episodes, key: Key | None = None) -> Adapted:
    """The agent adapted to all transitions of one task, as `macaw_jax.data.episodes.episodes` makes them of arrays.

    An algorithm that cuts a support into equal parts leaves out the newest rows that they cannot share.

    Raises:
      ValueError: observations or actions have other sizes than the agent's, or there are fewer rows than parts.
    """
    expected = self.statistics.observation_mean.shape[-1]
    if episodes.observation.shape[-1] != expected:
      raise ValueError(f"observation: expected [N, {expected}], got {episodes.observation.shape}")
    num_rows = len(episodes.reward) // self.algorithm.support_parts * self.algorithm.support_parts
    if num_rows == 0:
      raise ValueError(f"episodes: expected at least {self.algorithm.support_parts} transitions, got none or fewer")
    support = gather(dataset_of([episodes], self.discount), 0, jnp.arange(num_rows))
    return self._adapt(normalise(self.statistics, support), jax.random.key(0) if key is None else key)

  def act(
    self,
    adapted: Adapted,
    observation: ArrayLike,
    *,
    action: ArrayLike | None = None,
    reward: float = 0.0,
    first: bool = False,
    key: Key | None = None,
  ) -> tuple[np.ndarray, Adapted]:
    """The action in [-1, 1]^A, and the adapted agent for the next step.

    Args:
      adapted: of `adapt` or `prior`, or of the step before.
      observation: `[O]`, as the environment gives it.
      action: the action before, for agents with memory; zero if not given.
      reward: of the action before.
      first: whether an episode begins.
      key: draws a sample; without it the action is the mode of the policy.
    """
    before = np.zeros(self._action_size) if action is None else action
    timestep = TimeStep(*(jnp.asarray(value, jnp.float32) for value in (observation, before, reward, first)))
    chosen, adapted = self._act(adapted, timestep, key)
    return np.clip(np.asarray(chosen), -1.0, 1.0), adapted

  @cached_property
  def _adapt(self) -> Any:
    return jax.jit(partial(self.algorithm.adapt, self.params))

  @cached_property
  def _act(self) -> Any:
    return jax.jit(partial(act_on_raw_timesteps(self.algorithm.act), (self.params, self.statistics)))

  @cached_property
  def _action_size(self) -> int:
    def acted() -> Any:
      observation = jnp.zeros(self.statistics.observation_mean.shape[-1])
      timestep = TimeStep(observation, jnp.zeros(1), jnp.zeros(()), jnp.zeros(()))
      adapted = self.algorithm.prior(self.params, jax.random.key(0))
      return self.algorithm.act(self.params, adapted, timestep, None)[0]

    return int(jax.eval_shape(acted).shape[-1])


def load_run(directory: str | Path, algorithm: Algorithm | None = None, *, checkpoint: str = NEWEST) -> Agent:
  """The agent of a run.

  Args:
    directory: of the run.
    algorithm: whose parameters it has; where the run was trained from a configuration, the run knows it.
    checkpoint: `newest`, `best` (of the highest score on training tasks), or the number of an update.

  Raises:
    ConfigurationError: there is no such run or checkpoint, it is damaged or of another release, or its algorithm is not
      known.
  """
  directory = Path(directory)
  described = read_document(directory).get("agent") or {}
  if "problem" not in described:
    raise ConfigurationError(f"{directory / 'config.json'}: expected the key 'agent' with the problem's sizes")
  problem = Problem(**described["problem"])
  if algorithm is None:
    if "algorithm" not in described:
      raise ConfigurationError(f"{directory}: trained by a script; expected its algorithm as the second argument")
    algorithm = make_algorithm(described["algorithm"], problem, described["settings"])
  if RETRIEVAL in described:
    algorithm = with_retrieval(algorithm, problem, RetrievalSettings(**described[RETRIEVAL]))
  found, _ = load_checkpoint(directory, algorithm, problem.observation_size, checkpoint)
  params, statistics = jax.tree.map(jnp.asarray, (found.state.params, found.statistics))
  return Agent(algorithm, params, statistics, problem.discount, int(found.state.step))
