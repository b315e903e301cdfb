"""The learner of context-based agents, on two numbers: names that fit, and parts that stay."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from macaw_jax.adaptation import encode
from macaw_jax.learners.context import (
  ContextLearner,
  Stage,
  Step,
  context_learner,
  on_rows,
  queries_with,
  read_from_support,
)
from macaw_jax.types import LATENT, TaskBatch, Transition

KEY = jax.random.key(0)
NO_TASKS = None  # the losses here read none


def learner(**changes):
  parts = {"a": lambda key: jnp.ones(()), "b": lambda key: jnp.ones(())}
  loss = lambda net, tasks, key: (net["a"] * net["b"], {})  # noqa: E731
  return ContextLearner(
    init=parts,
    encoder=encode(lambda net, context, key: jnp.zeros(1)),
    prior=lambda net, key: {LATENT: jnp.zeros(1)},
    losses={"loss": loss},
    trains={"loss": ("a",)},
    targets={},
    tau=0.1,
    follows={},
    act=lambda params, timestep, key: timestep.observation,
  )._replace(**changes)


@pytest.mark.parametrize(
  ("changes", "optimizers", "message"),
  [
    ({"trains": {}}, ("a",), "losses and their table differ in"),
    ({}, (), r"trained parts and optimisers differ in \['a'\]"),
    ({}, ("a", "b"), r"trained parts and optimisers differ in \['b'\]"),
    ({"trains": {"loss": ("c",)}}, ("c",), r"no part is called \['c'\]"),
    ({"targets": {"target": "c"}}, ("a",), r"no part is called \['c'\]"),
    ({"follows": {"c": lambda net, tasks, key: net}}, ("a",), r"no part is called \['c'\]"),
    ({"steps": (Step(("loss", "other")),)}, ("a",), r"losses and steps differ in \['other'\]"),
    ({"steps": (Step(("loss",), before=("c",)),)}, ("a",), r"no part is called \['c'\]"),
    ({"stages": {"b": Stage(1)}}, ("a",), r"no loss trains \['b'\], which have a stage"),
  ],
)
def test_names_that_do_not_fit_are_refused(changes, optimizers, message):
  with pytest.raises(ValueError, match=message):
    context_learner(learner(**changes), {name: optax.sgd(0.1) for name in optimizers})


def test_two_losses_that_report_one_metric_are_refused():
  loss = lambda net, tasks, key: (net["a"], {"same": net["a"]})  # noqa: E731
  both = learner(losses={"loss": loss, "other": loss}, trains={"loss": ("a",), "other": ("a",)})
  algorithm = context_learner(both, {"a": optax.sgd(0.1)})
  with pytest.raises(ValueError, match="same"):
    algorithm.update(algorithm.init(KEY), NO_TASKS, KEY)


def test_a_part_that_no_loss_trains_keeps_its_value():
  algorithm = context_learner(learner(), {"a": optax.sgd(0.5)})
  after, _ = algorithm.update(algorithm.init(KEY), NO_TASKS, KEY)
  assert (float(after.params.net["a"]), float(after.params.net["b"])) == (0.5, 1.0)


def test_a_part_learns_in_its_stage_alone_and_its_optimiser_begins_there():
  loss = lambda net, tasks, key: (2.0 * net["a"] + 3.0 * net["b"], {})  # noqa: E731
  both = learner(losses={"loss": loss}, trains={"loss": ("a", "b")}, stages={"a": Stage(0, 2), "b": Stage(2, 3)})
  # Momentum tells by the size of a step how many came before it: 1, then 1.5 of the gradient.
  algorithm = context_learner(both, {part: optax.sgd(0.1, momentum=0.5) for part in "ab"})
  state, found = algorithm.init(KEY), []
  for _ in range(4):
    state, _ = jax.jit(algorithm.update)(state, NO_TASKS, KEY)
    found.append([float(state.params.net[part]) for part in "ab"])
  np.testing.assert_allclose(found, [[0.8, 1.0], [0.5, 1.0], [0.5, 0.7], [0.5, 0.7]], rtol=1e-6)
  assert found[0][1] == found[1][1] == 1.0
  assert found[1][0] == found[2][0] == found[3][0]
  assert found[2][1] == found[3][1]


def test_an_actor_critic_learns_on_the_query_by_the_latent_of_the_support():
  support, query = (Transition(*[jnp.full((2, 3), reward)] * 9) for reward in (1.0, 20.0))
  encoder = encode(lambda net, context, key: jnp.mean(context.reward, axis=-1))
  loss = lambda net, batch, key: (jnp.mean(net[LATENT]) + jnp.mean(batch.reward), {})  # noqa: E731
  assert (
    on_rows(loss, queries_with(read_from_support(encoder)))({}, TaskBatch(support, query, jnp.arange(2)), KEY)[0]
    == 21.0
  )


def product_of_both(net, tasks, key):
  return net["a"] * net["b"], {}


# Both parts start at one and take a step of a half of the other's value.
@pytest.mark.parametrize(
  ("steps", "after"),
  [
    ((), (0.5, 0.5)),
    ((Step(("first",)), Step(("second",))), (0.5, 0.75)),
    ((Step(("first",)), Step(("second",), before=("a",))), (0.5, 0.5)),
    ((Step(("second",)), Step(("first",)), Step(("first",)), Step(("first",))), (0.25, 0.5)),
  ],
)
def test_steps_come_in_their_order_and_read_parts_as_they_say(steps, after):
  losses = {"first": product_of_both, "second": product_of_both}
  stepping = learner(losses=losses, trains={"first": ("a",), "second": ("b",)}, steps=steps)
  algorithm = context_learner(stepping, {name: optax.sgd(0.5) for name in "ab"})
  state, _ = algorithm.update(algorithm.init(KEY), NO_TASKS, KEY)
  assert (float(state.params.net["a"]), float(state.params.net["b"])) == after


def test_an_optimiser_counts_its_own_steps_alone():
  losses = {"first": product_of_both, "second": product_of_both}
  steps = (Step(("first",)), Step(("first",)), Step(("second",)))
  stepping = learner(losses=losses, trains={"first": ("a",), "second": ("b",)}, steps=steps)
  algorithm = context_learner(stepping, {name: optax.adam(0.5) for name in "ab"})
  state, _ = algorithm.update(algorithm.init(KEY), NO_TASKS, KEY)
  counts = {part: kept.inner_state[0].count for part, kept in state.opt_state.inner_states.items()}
  assert counts == {"a": 2, "b": 1}


def test_each_step_reads_its_share_of_the_queries():
  def mean_reward(net, tasks, key):
    return net["a"] * jnp.mean(tasks.query.reward), {"mean_reward": jnp.mean(tasks.query.reward)}

  rows = Transition(*(jnp.zeros((1, 4)) for _ in range(9)))._replace(reward=jnp.array([[1.0, 1.0, 5.0, 5.0]]))
  steps = (Step(("loss",), share=1), Step(("loss",)), Step(("loss",), share=1))
  algorithm = context_learner(learner(losses={"loss": mean_reward}, steps=steps), {"a": optax.sgd(1.0)})
  state, metrics = algorithm.update(algorithm.init(KEY), TaskBatch(rows, rows, jnp.zeros(1, jnp.int32)), KEY)
  assert float(state.params.net["a"]) == 1.0 - 5.0 - 1.0 - 5.0
  assert float(metrics["mean_reward"]) == 5.0  # of a loss's first step
  odd = jax.tree.map(lambda leaf: leaf[:, :3], rows)
  with pytest.raises(ValueError, match="query_size=3 must be a multiple of the 2 shares"):
    algorithm.update(algorithm.init(KEY), TaskBatch(rows, odd, jnp.zeros(1, jnp.int32)), KEY)
