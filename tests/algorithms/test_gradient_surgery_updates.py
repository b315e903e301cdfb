"""Updates with gradient surgery: by hand from the gradients of single tasks, and routes of gradients as ever."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from pieces import pieces_of
from small_agents import small_agent
from small_context_batches import KEY, PROBLEM, TASKS, tasks
from small_episodes import tasks as tasks_of_episodes

from macaw_jax.algorithms import ALGORITHMS, ON_POLICY, RELEASED, macaw, maml_rl, policy_gradient_inner, settings
from macaw_jax.learners.context import SurgeryKeys, combined_gradient, total_loss
from macaw_jax.learners.gradient_surgery import GradientSurgery, mean_gradient, pcgrad

RATE = 0.1
RATES = {"optimizer": {"agent_learning_rate": RATE, "encoder_learning_rate": RATE}}


# Drops the gradients altogether: what it was handed moves nothing.
KEPT = GradientSurgery(lambda gradients, key: (jax.tree.map(lambda leaf: jnp.zeros(leaf.shape[1:]), gradients), {}))


def conflicting():
  """Tasks whose rewards and returns have different sizes and signs."""
  sizes = jnp.array([4.0, -5.0, 1.0])[:, None]
  batch = tasks()
  rows = [
    each._replace(reward=sizes + each.reward, mc_return=sizes + each.reward) for each in (batch.support, batch.query)
  ]
  return batch._replace(support=rows[0], query=rows[1])


def one(batch, task):
  return jax.tree.map(lambda leaf: leaf[task : task + 1], batch)


def by_hand(gradients):
  """PCGrad in numpy in the order of the batch: the mean of the projected vectors, as a tree like each of them."""
  flat, unravel = zip(*(jax.flatten_util.ravel_pytree(gradient) for gradient in gradients), strict=True)
  vectors = [np.asarray(each, np.float64) for each in flat]
  projected = []
  for task, vector in enumerate(vectors):
    v = vector.copy()
    for other, g in enumerate(vectors):
      if other != task and v @ g < 0:
        v -= v @ g / (g @ g) * g
    projected.append(v)
  return unravel[0](jnp.asarray(np.mean(projected, axis=0), jnp.float32))


def assert_close(actual, expected):
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), actual, expected)


def test_an_update_of_macaw_is_a_step_along_the_combined_meta_gradients():
  arguments = {"hidden_sizes": (4,), "optimizer": lambda rate: optax.sgd(RATE), "advantage_coefficient": None}
  algorithm = macaw(PROBLEM, gradient_surgery=pcgrad(order="fixed"), **arguments)
  state, batch = algorithm.init(KEY), conflicting()
  after, metrics = jax.jit(algorithm.update)(state, batch, KEY)

  parts = pieces_of(macaw, PROBLEM, **arguments)

  def task_loss(params, task):
    support, query = (jax.tree.map(lambda leaf: leaf[0], rows) for rows in (task.support, task.query))
    changes, _ = parts.adaptation.apply(params.net, params.rule, support, KEY)
    return parts.outer_loss(params.net | changes, query, KEY)[0]

  gradient_of = jax.jit(jax.grad(task_loss))
  gradients = [gradient_of(state.params, one(batch, task)) for task in range(TASKS)]
  expected = jax.tree.map(lambda leaf, step: leaf - RATE * step, state.params, by_hand(gradients))
  assert_close(after.params, expected)
  assert 0 < metrics["conflict_rate"] <= 1  # else there was nothing to see


def test_an_update_of_focal_combines_each_loss_of_the_actor_critic_alone(learner_of):
  """The losses of `iql` draw no random number, so that those of single tasks are seen from outside."""
  learner, algorithm = learner_of("focal", **RATES, gradient_surgery=pcgrad(order="fixed"))
  state, batch = algorithm.init(KEY), conflicting()
  after, metrics = jax.jit(algorithm.update)(state, batch, KEY)
  net = state.params.net

  expected = {}
  for name, parts in learner.trains.items():

    def loss(trained, batch, name=name):
      return total_loss(learner, (name,))(net | trained, batch, KEY)[0]

    trained, gradient_of = {part: net[part] for part in parts}, jax.jit(jax.grad(loss))
    if name == "metric_loss":  # compares tasks, and keeps the gradient of the batch
      expected |= gradient_of(trained, batch)
    else:
      expected |= by_hand([gradient_of(trained, one(batch, task)) for task in range(TASKS)])
  assert expected.keys() == {"encoder", "critic", "value", "policy"}
  for part, gradient in expected.items():
    assert_close(after.params.net[part], jax.tree.map(lambda p, g, part=part: p - RATE * g, net[part], gradient))
  rates = {name for name in metrics if name.endswith("conflict_rate")}
  assert rates == {f"{name}_conflict_rate" for name in learner.losses.keys() - {"metric_loss"}}
  assert any(metrics[rate] > 0 for rate in rates)  # else there was nothing to see


def test_the_mean_is_the_update_without_surgery_where_nothing_is_drawn(learner_of):
  updated = []
  for surgery in (None, mean_gradient()):
    _, algorithm = learner_of("focal", **RATES, gradient_surgery=surgery)
    updated.append(jax.jit(algorithm.update)(algorithm.init(KEY), tasks(), KEY))
  assert_close(updated[0][0].params, updated[1][0].params)
  assert updated[0][1].keys() <= updated[1][1].keys()


@pytest.mark.parametrize(
  ("name", "changes"),
  [("pearl_offline", {}), ("focal", {"actor_critic": {"name": "brac", "divergence_target": 0.05}})],
)
def test_a_loss_still_trains_the_parts_of_its_table_alone(learner_of, name, changes):
  learner, algorithm = learner_of(name, gradient_surgery=pcgrad(), **changes)
  net, batch = algorithm.init(KEY).params.net, tasks()
  keys = SurgeryKeys(*jax.random.split(KEY))
  for loss in learner.separable:
    gradient, _ = jax.eval_shape(lambda net, loss=loss: combined_gradient(learner, loss, net, batch, keys), net)
    assert set(gradient) == set(learner.trains[loss])
  assert not {"kl_loss", "metric_loss", "multiplier_loss"} & set(learner.separable)
  assert {"critic_loss", "policy_loss"} <= set(learner.separable)


def test_nothing_but_the_surgery_sees_its_key_and_each_loss_has_its_own_order(learner_of):
  seen = []

  def combine(gradients, key):
    seen.append(key)
    return mean_gradient().combine(gradients, key)

  _, algorithm = learner_of("focal", **RATES, gradient_surgery=GradientSurgery(combine))
  with jax.disable_jit():
    algorithm.update(algorithm.init(KEY), tasks(), KEY)
  assert len(seen) == len({tuple(jax.random.key_data(key).tolist()) for key in seen}) == 3


def test_reptile_combines_the_ways_to_adapted_policies():
  pair = [small_agent(PROBLEM, "reptile", **({"gradient_surgery": each} if each else {})) for each in (None, KEPT)]
  batch = tasks_of_episodes(1, rewards_in_support=True)
  state = pair[0].init(KEY)
  plain, kept = (jax.jit(each.update)(state, batch, KEY)[0].params.net for each in pair)
  changed = [np.asarray(a - b) for a, b in zip(jax.tree.leaves(plain), jax.tree.leaves(state.params.net), strict=True)]
  assert any(np.any(each != 0) for each in changed)
  jax.tree.map(np.testing.assert_array_equal, kept, state.params.net)


def test_the_credit_for_sampling_has_no_gradient_of_one_task():
  with pytest.raises(ValueError, match="sampling_credit=True with gradient_surgery"):
    maml_rl(PROBLEM, inner=policy_gradient_inner(surrogate="log_prob"), sampling_credit=True, gradient_surgery=KEPT)


@pytest.mark.parametrize("name", ["multitask_bc", "norml", "maml_rl"])
def test_gradient_based_agents_hand_their_surgery_on(name):
  algorithm = small_agent(PROBLEM, name, gradient_surgery=KEPT)
  batch = tasks_of_episodes(1, rewards_in_support=algorithm.reads_reward) if name in ON_POLICY else tasks()
  state = algorithm.init(KEY)
  after, _ = jax.jit(algorithm.update)(state, batch, KEY)
  jax.tree.map(np.testing.assert_array_equal, after.params, state.params)


@pytest.mark.parametrize("name", [name for name in ALGORITHMS if name not in (*RELEASED, "single_task_awr")])
def test_every_algorithm_with_gradients_of_tasks_takes_it_by_name(name):
  settings.make_algorithm(name, PROBLEM, {"gradient_surgery": "pcgrad"})
