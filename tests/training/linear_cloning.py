"""An algorithm written by hand as four functions: the loop and the checkpoints need the contract and nothing else."""

import jax
import jax.numpy as jnp
import numpy as np

from macaw_jax.training import loop
from macaw_jax.types import Algorithm, MetaParams, TaskBatch, TrainState, Transition


def make_dataset(num_tasks=2, num_rows=32):
  """Actions that are a linear function of observations, another one for each task."""
  rng = np.random.default_rng(0)
  observation = rng.normal(size=(num_tasks, num_rows, 3)).astype(np.float32)
  weight = rng.normal(size=(num_tasks, 3, 2)).astype(np.float32)
  zeros = np.zeros((num_tasks, num_rows), np.float32)
  return Transition(observation, observation @ weight, zeros, observation, zeros, zeros, zeros, observation, zeros)


def sample(dataset, key):
  rows = jax.random.randint(key, (8,), 0, dataset.reward.shape[1])
  batch = jax.tree.map(lambda leaf: jnp.asarray(leaf)[:, rows], dataset)
  return TaskBatch(batch, batch, jnp.arange(dataset.reward.shape[0]))


def linear_cloning(count=lambda: None, learning_rate=0.05):
  """Behaviour cloning of one linear policy with a little noise in the gradient; `count` is called at each trace."""

  def init(key):
    weight = 0.1 * jax.random.normal(key, (3, 2))
    return TrainState(MetaParams({"policy": weight}, {}), {"decay": 0.9}, jnp.zeros((), jnp.int32))

  def update(state, tasks, key):
    count()

    def loss(weight):
      return jnp.mean((tasks.query.observation @ weight - tasks.query.action) ** 2)

    weight = state.params.net["policy"]
    value, gradient = jax.value_and_grad(loss)(weight)
    noise = 0.01 * jax.random.normal(key, weight.shape)
    params = MetaParams({"policy": weight - learning_rate * (gradient + noise)}, {})
    opt_state = {"decay": 0.9 * state.opt_state["decay"]}
    return TrainState(params, opt_state, state.step + 1), {"policy_loss": value}

  def act(params, task, timestep, key):
    del key
    return timestep.observation @ params.net["policy"], task

  return Algorithm(init, update, lambda params, support, key: {}, act)


def run(num_steps, steps_per_chunk, algorithm=None, state=None):
  algorithm = algorithm or linear_cloning()
  dataset = make_dataset()
  key_init, key_train = jax.random.split(jax.random.key(3))
  state = state or loop.initialise(algorithm, key_init)
  chunk = loop.compile_chunk(loop.make_chunk(algorithm, sample, steps_per_chunk), state, dataset, key_train)
  metrics = {}
  newest = state
  for newest, row in loop.train(chunk, state, dataset, key_train, num_steps):
    metrics[int(newest.step)] = jax.device_get(row)
  return newest, metrics
