"""A point on a plane that is paid by its distance to the task's goal, and a reward model that is made by hand."""

import jax.numpy as jnp
import numpy as np

from macaw_jax.data.dataset import Dataset, Episodes, dataset_of
from macaw_jax.data.reward_model import RewardModel, Scale, Trunk

HORIZON = 20


def episodes(goal, aim, *, num_episodes=20, seed=0, wind=(0.0, 0.0)):
  """Episodes in the task of a goal: half of them walk to `aim`, which may be another one, and half at random."""
  random = np.random.default_rng(seed)
  place = random.uniform(-1.0, 1.0, (num_episodes, 2))
  walks = (np.arange(num_episodes) % 2 == 0)[:, None]
  states, actions = [place], []
  for _ in range(HORIZON):
    noise = random.uniform(-1.0, 1.0, place.shape)
    actions.append(np.where(walks, np.clip(10.0 * (aim - place) + noise, -1.0, 1.0), noise))
    place = place + 0.1 * actions[-1] + np.asarray(wind)
    states.append(place)
  states, actions = np.stack(states, axis=1), np.stack(actions, axis=1)
  return Episodes(
    observation=states[:, :-1].reshape(-1, 2).astype(np.float32),
    action=actions.reshape(-1, 2).astype(np.float32),
    reward=-np.linalg.norm(states[:, 1:] - goal, axis=-1).ravel().astype(np.float32),
    episode_length=np.full(num_episodes, HORIZON, np.int32),
    final_observation=states[:, -1].astype(np.float32),
    terminal=np.zeros(num_episodes, bool),
    collected_at=np.arange(num_episodes) * HORIZON,
  )


def point_dataset(goals, aims=None, *, winds=None, seed=0, **options) -> Dataset:
  """The data of tasks of these goals; in each the policy of `aims` acted, its own if there are none."""
  aims = goals if aims is None else aims
  winds = np.zeros_like(goals) if winds is None else winds
  tasks = zip(goals, aims, winds, strict=True)
  return dataset_of(
    [episodes(goal, aim, wind=wind, seed=seed + task, **options) for task, (goal, aim, wind) in enumerate(tasks)], 0.99
  )


def linear_model(vectors, *, noise=0.01, spread=None, skip=None, classifier=None) -> RewardModel:
  """A model of vectors `[T, D, F]` whose features are the inputs themselves, or `inputs @ skip`, and a one.

  All tasks cover every row alike, unless a classifier's layers say otherwise. Nothing is scaled.
  """
  vectors = jnp.asarray(vectors)
  num_tasks, num_outcomes, num_features = vectors.shape
  skip = jnp.eye(num_features - 1) if skip is None else jnp.asarray(skip)
  num_inputs = len(skip)

  def unscaled(size):
    return Scale(jnp.zeros(size), jnp.ones(size))

  return RewardModel(
    input_scale=unscaled(num_inputs),
    outcome_scale=unscaled(num_outcomes),
    trunk=Trunk([(jnp.zeros_like(skip), jnp.zeros(num_features - 1))], skip),
    feature_scale=unscaled(num_features),
    classifier=[(jnp.zeros((num_features, num_tasks)), jnp.zeros(num_tasks))] if classifier is None else classifier,
    vectors=vectors,
    spread=jnp.broadcast_to(jnp.eye(num_features), (num_outcomes, num_features, num_features))
    if spread is None
    else jnp.asarray(spread),
    noise=jnp.broadcast_to(jnp.asarray(noise), (num_tasks, num_outcomes)),
    gram=jnp.eye(num_features),
  )
