"""Single-task AWR: training changes nothing, and adaptation is steps of AWR from the initial values."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from macaw_jax.algorithms import macaw, single_task_awr
from macaw_jax.types import Problem, TaskBatch, TimeStep, Transition

PROBLEM = Problem(observation_size=3, action_size=2, num_tasks=2, discount=0.9)


def draw(seed):
  """Random transitions `[2, 16, ...]`."""
  keys = iter(jax.random.split(jax.random.key(seed), 5))

  def normal(*sizes):
    return jax.random.normal(next(keys), (2, 16, *sizes))

  zeros = jnp.zeros((2, 16))
  states = normal(3)
  return Transition(states, jnp.tanh(normal(2)), normal(), states, zeros, zeros, normal(), states, zeros)


BATCH = TaskBatch(draw(0), draw(1), jnp.arange(2))
SUPPORT = jax.tree.map(lambda leaf: leaf[0], BATCH.support)


def test_training_learns_nothing():
  algorithm = single_task_awr(PROBLEM, hidden_sizes=(8,))
  state = algorithm.init(jax.random.key(0))
  after, metrics = jax.jit(algorithm.update)(state, BATCH, jax.random.key(1))
  jax.tree.map(np.testing.assert_array_equal, after.params, state.params)
  assert float(metrics["policy_loss"]) != 0.0


def test_two_rounds_by_hand():
  """With plain gradient steps: V first, then the policy under the value that has moved."""
  settings = {"temperature": 0.7, "max_weight": 3.0, "standard_deviation": 0.4, "optimizer": optax.sgd}
  algorithm = single_task_awr(
    PROBLEM,
    hidden_sizes=(8,),
    adaptation_steps=2,
    value_learning_rate=0.1,
    policy_learning_rate=0.02,
    **settings,
  )
  params = algorithm.init(jax.random.key(0)).params
  adapted = algorithm.adapt(params, SUPPORT, jax.random.key(1))

  def network(layers, x):
    """A hidden layer of 8 units, and a linear one."""
    hidden, out = layers.get("trunk", layers)["layer_0"], layers.get("output", layers.get("layer_1"))
    return jax.nn.relu(x @ hidden["kernel"] + hidden["bias"]) @ out["kernel"] + out["bias"]

  def value_loss(value):
    return jnp.mean((network(value, SUPPORT.observation)[:, 0] - SUPPORT.mc_return) ** 2)

  def policy_loss(policy, value):
    advantages = SUPPORT.mc_return - network(value, SUPPORT.observation)[:, 0]
    standardised = (advantages - advantages.mean()) / advantages.std(ddof=1)
    weights = jnp.minimum(jnp.exp(standardised / 0.7), 3.0)
    apart = (SUPPORT.action - jnp.tanh(network(policy, SUPPORT.observation))) / 0.4
    log_prob = -0.5 * jnp.sum(apart**2 + 2.0 * jnp.log(0.4) + jnp.log(2.0 * jnp.pi), axis=-1)
    return -jnp.mean(jax.lax.stop_gradient(weights) * log_prob)

  value, policy = params.net["value"], params.net["policy"]
  for _ in range(2):
    value = jax.tree.map(lambda p, g: p - 0.1 * g, value, jax.grad(value_loss)(value))
    policy = jax.tree.map(lambda p, g: p - 0.02 * g, policy, jax.grad(policy_loss)(policy, value))
  for part, expected in (("value", value), ("policy", policy)):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), adapted[part], expected)


def test_no_task_is_known_beforehand():
  """The prior is the initial policy, which no batch has changed."""
  algorithm = single_task_awr(PROBLEM, hidden_sizes=(8,))
  params = algorithm.init(jax.random.key(0)).params
  timestep = TimeStep(observation=jnp.ones(3), action=jnp.zeros(2), reward=jnp.zeros(()), first=jnp.ones(()))
  before, _ = algorithm.act(params, algorithm.prior(params, jax.random.key(0)), timestep, None)
  after, _ = algorithm.act(params, algorithm.adapt(params, SUPPORT, jax.random.key(0)), timestep, None)
  assert np.all(before != after)


@pytest.mark.parametrize(
  "setting", [{"adaptation_steps": 0}, {"lambda_": 1.5}, {"policy_learning_rate": -1.0}, {"hidden_sizes": (0,)}]
)
def test_settings_out_of_range_are_refused(setting):
  with pytest.raises(ValueError, match=next(iter(setting))):
    single_task_awr(PROBLEM, **setting)


def test_going_on_takes_the_steps_of_adaptation():
  algorithm = single_task_awr(PROBLEM, hidden_sizes=(8,), adaptation_steps=3)
  net = algorithm.init(jax.random.key(0)).params.net
  state, moved = algorithm.tuning.init(net), {}
  for _ in range(3):
    moved, state, _ = algorithm.tuning.step(net | moved, state, SUPPORT, jax.random.key(0))
  adapted = algorithm.adapt(algorithm.init(jax.random.key(0)).params, SUPPORT, jax.random.key(0))
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), moved, adapted)


def test_macaw_goes_on_by_its_outer_losses_without_the_advantage_head():
  """A step leaves the head as it is: the outer policy loss does not read it."""
  algorithm = macaw(PROBLEM, hidden_sizes=(8,), layer="dense", fine_tune_policy_learning_rate=0.1)
  net = algorithm.init(jax.random.key(0)).params.net
  moved, _, _ = algorithm.tuning.step(net, algorithm.tuning.init(net), SUPPORT, jax.random.key(0))
  flat = jax.tree_util.tree_leaves_with_path(
    jax.tree.map(lambda a, b: bool(jnp.all(a == b)), moved, {p: net[p] for p in moved})
  )
  same = {jax.tree_util.keystr(path) for path, equal in flat if equal}
  assert same
  assert all("head" in name for name in same), same
  assert len(same) < len(flat)
