"""NoRML against its closed forms: what its meta-gradient is, and what each switch keeps from learning."""

import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.flatten_util import ravel_pytree
from pieces import pieces_of
from policy_gradients_by_hand import advantage, assert_close, cubic, flat, largest, log_prob, make_score, one, redrawn
from small_episodes import HORIZON, PROBLEM, TASKS, tasks

from macaw_jax.algorithms import norml
from macaw_jax.algorithms.norml import TRAINS, mark_last_task
from macaw_jax.learners.gradient import gradient_of, meta_loss
from macaw_jax.learners.policy_gradient import record_behaviour
from macaw_jax.networks.gaussian import learned_gaussian_policy
from macaw_jax.types import MetaParams, TaskBatch

pytestmark = pytest.mark.usefixtures("double_precision")
SMALL = {"hidden_sizes": (4,), "advantage_hidden_sizes": (5,)}
KEY = jax.random.key(0)
WITH_ADVANTAGE = {"learned_advantage": True, "learn_step_sizes": True}
WITH_REWARDS = {"learned_advantage": False, "learn_step_sizes": True}


def parts_of(**arguments):
  """The pieces of the agent: initial parts, adaptation, outer loss, and its policy."""
  parts = pieces_of(norml, PROBLEM, **SMALL, **arguments)
  parts.policy = learned_gaussian_policy(PROBLEM.observation_size, PROBLEM.action_size, SMALL["hidden_sizes"])
  return parts


def params_of(parts):
  """Parameters far from where they start: every part matters, and no two step sizes are equal."""
  net = parts.init_net(KEY)
  net = {"policy": redrawn(net["policy"], 1, 0.5), "advantage": redrawn(net["advantage"], 2, 0.7)}
  rule = parts.adaptation.init(net)
  step_size = jax.tree.map(lambda leaf: 0.3 + 0.1 * jnp.tanh(leaf), redrawn(rule["step_size"], 3, 1.0))
  return MetaParams(net, {"step_size": step_size, "offset": redrawn(rule["offset"], 4, 0.1)})


def start(algorithm):
  """Its first state, in double precision."""
  state = algorithm.init(KEY)
  return jax.tree.map(lambda leaf: leaf.astype(float) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf, state)


def make_gradient(parts):
  """`(params, batch) -> meta-gradient`, compiled once for a shape."""
  compiled = jax.jit(gradient_of(meta_loss(parts.adaptation, parts.outer_loss)))
  return lambda params, batch: compiled(params, mark_last_task(batch), KEY)[0]


def gradient(parts, params, batch):
  return make_gradient(parts)(params, batch)


def learned(parts, net, episodes):
  """A_psi by hand, [E, H]: one hidden layer of tanh on [s', s, a]."""
  inputs = jnp.concatenate([episodes.next_observation, episodes.observation, episodes.action], axis=-1)
  first, second = net["advantage"]["layer_0"], net["advantage"]["layer_1"]
  return (jnp.tanh(inputs @ first["kernel"] + first["bias"]) @ second["kernel"] + second["bias"])[..., 0]


def valid_learned(parts, net, episodes):
  return learned(parts, net, episodes)[np.asarray(episodes.mask) > 0]


def inner_advantage(parts, net, episodes, laf):
  if laf:
    return valid_learned(parts, net, episodes)
  return advantage(episodes, cubic, PROBLEM.discount, normalise=False)


def closed_form(parts, score, params, support, query, laf):
  """dL by each part for one task, flat, with v = dL / dtheta'."""
  net, rule = params
  theta, unravel = ravel_pytree(net["policy"])
  alpha = flat(rule["step_size"])
  weight = inner_advantage(parts, net, support, laf)
  inner = score(net["policy"], support)
  slope = -jnp.mean(weight[:, None] * inner.gradient, axis=0)
  adapted = unravel(theta + flat(rule["offset"]) - alpha * slope)
  judged_by = advantage(query, cubic, PROBLEM.discount, normalise=True)
  v = -jnp.mean(judged_by[:, None] * score(adapted, query).gradient, axis=0)
  curvature = inner.hessian
  if not laf:  # The ratio's own curvature.
    curvature += inner.gradient[:, :, None] * inner.gradient[:, None, :]
  credit = inner.gradient @ (alpha * v) / len(weight)
  psi = jax.grad(lambda psi: jnp.sum(credit * valid_learned(parts, {"advantage": psi}, support)))(net["advantage"])
  return {
    "offset": v,
    "step_size": -slope * v,
    "policy": v + jnp.mean(weight[:, None, None] * curvature, axis=0) @ (alpha * v),
    "advantage": flat(psi) if laf else jnp.zeros_like(flat(psi)),
  }


def by_part(params):
  return {**params.net, **params.rule}


def flat_parts(params):
  return {name: flat(part) for name, part in by_part(params).items()}


@pytest.mark.parametrize("arguments", [WITH_ADVANTAGE, WITH_REWARDS], ids=["learned", "rewards"])
def test_the_meta_gradient_is_that_of_the_closed_forms(arguments):
  parts, batch = parts_of(**arguments), tasks()
  params = params_of(parts)
  laf = arguments["learned_advantage"]
  score = make_score(parts.policy, params.net["policy"])
  of_tasks = [
    closed_form(parts, score, params, one(batch.support, i, 0), one(batch.query, i), laf) for i in range(TASKS)
  ]
  expected = jax.tree.map(lambda *leaves: jnp.mean(jnp.stack(leaves), axis=0), *of_tasks)
  assert all(largest(expected[name]) > 1e-3 for name in expected if laf or name != "advantage")
  assert_close(flat_parts(gradient(parts, params, batch)), expected, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("arguments", [WITH_ADVANTAGE, WITH_REWARDS], ids=["learned", "rewards"])
def test_the_meta_gradient_is_the_slope_of_the_objective_with_its_data_held_fixed(arguments):
  parts, batch = parts_of(**arguments), tasks()
  params, laf = params_of(parts), arguments["learned_advantage"]

  def of_task(params, fixed, support, query):
    """The loss of one task, and what it holds fixed if it is not given: log pi on both sets of episodes."""
    net, rule = params
    theta, unravel = ravel_pytree(net["policy"])

    def inner_loss(theta):
      now = log_prob(parts.policy, unravel(theta), support)
      then = now if fixed is None else fixed[0]
      terms = now if laf else jnp.exp(now - jax.lax.stop_gradient(then))
      return -jnp.mean(inner_advantage(parts, net, support, laf) * terms), now

    slope, before = jax.grad(inner_loss, has_aux=True)(theta)
    adapted = unravel(theta + flat(rule["offset"]) - flat(rule["step_size"]) * slope)
    after = log_prob(parts.policy, adapted, query)
    ratio = jnp.exp(after - (after if fixed is None else fixed[1]))
    weight = advantage(query, cubic, PROBLEM.discount, normalise=True)
    return -jnp.mean(jnp.minimum(ratio * weight, jnp.clip(ratio, 0.8, 1.2) * weight)), (before, after)

  support, query = one(batch.support, 1, 0), one(batch.query, 1)
  batch = TaskBatch(*jax.tree.map(lambda leaf: leaf[1:2], (batch.support, batch.query)), jnp.arange(1))
  slopes = by_part(gradient(parts, params, batch))
  _, fixed = of_task(params, None, support, query)
  loss = jax.jit(lambda params: of_task(params, fixed, support, query)[0])
  for name in ("policy", "advantage", "offset", "step_size"):
    direction = redrawn(by_part(params)[name], 9, 1.0)

    def at(distance, name=name, direction=direction):
      section = params.net if name in params.net else params.rule
      moved = {**section, name: jax.tree.map(lambda x, d: x + distance * d, section[name], direction)}
      return loss(params._replace(net=moved) if name in params.net else params._replace(rule=moved))

    measured = (at(1e-5) - at(-1e-5)) / 2e-5
    expected = flat(slopes[name]) @ flat(direction)
    assert abs(expected) > 1e-3 or (name == "advantage" and not laf and expected == 0), name
    np.testing.assert_allclose(measured, expected, rtol=1e-6, atol=1e-9, err_msg=name)


def test_a_batch_of_tasks_has_the_mean_of_their_gradients_in_any_order():
  parts, batch = parts_of(**WITH_REWARDS), tasks()
  params, gradient = params_of(parts), make_gradient(parts)
  whole = gradient(params, batch)
  alone = [gradient(params, jax.tree.map(lambda leaf, i=i: leaf[i : i + 1], batch)) for i in range(TASKS)]
  assert_close(whole, jax.tree.map(lambda *leaves: sum(leaves) / TASKS, *alone), rtol=1e-9, atol=1e-12)
  assert_close(gradient(params, one(batch, jnp.array([2, 0, 1]))), whole, rtol=1e-9, atol=1e-12)


def test_of_the_released_switch_the_last_task_alone_is_standardised_and_traced_switches_are_no_different():
  batch, params = tasks(), params_of(parts_of(**WITH_ADVANTAGE))

  @jax.jit
  def traced(each, last, batch):
    return gradient(parts_of(**WITH_ADVANTAGE, normalise_advantages=each, normalise_last_task=last), params, batch)

  def alone(i, normalise):
    one_task = jax.tree.map(lambda leaf: leaf[i : i + 1], batch)
    return traced(normalise, False, one_task)

  expected = [alone(i, normalise=i == TASKS - 1) for i in range(TASKS)]
  expected = jax.tree.map(lambda *leaves: sum(leaves) / TASKS, *expected)
  assert_close(traced(False, True, batch), expected, rtol=1e-9, atol=1e-12)
  released = parts_of(**WITH_ADVANTAGE, normalise_advantages=False, normalise_last_task=True)
  assert_close(gradient(released, params, batch), expected, rtol=1e-9, atol=1e-12)
  assert largest(jax.tree.map(jnp.subtract, traced(False, False, batch), expected)) > 1e-3
  # The last is standardised already.
  assert_close(traced(True, True, batch), traced(True, False, batch), rtol=1e-12, atol=1e-14)


# What learns


def assert_learns(slopes, switches):
  laf, offset, learn = switches
  for part, learns in {"policy": True, "advantage": laf, "offset": offset, "step_size": learn}.items():
    assert (largest(slopes[part]) > 1e-4) if learns else (largest(slopes[part]) == 0), (switches, part)


def test_the_outer_loss_trains_what_the_table_names():
  assert TRAINS == {"outer_loss": ("policy", "advantage", "offset", "step_size")}
  parts = parts_of(**WITH_ADVANTAGE)
  slopes = by_part(gradient(parts, params_of(parts), tasks()))
  assert all(largest(slopes[part]) > 1e-3 for part in TRAINS["outer_loss"])


def test_exact_zeros_go_where_a_switch_holds_a_part_and_traced_switches_are_no_different():
  batch = tasks()
  params = params_of(parts_of())

  @jax.jit
  def traced(laf, offset, learn):
    return gradient(parts_of(learned_advantage=laf, offset=offset, learn_step_sizes=learn), params, batch)

  for switches in itertools.product((True, False), repeat=3):
    found = by_part(traced(*switches))
    assert_learns(found, switches)
    if sum(switches) % 2:  # Half of them have every pair of switches in every combination.
      laf, offset, learn = switches
      parts = parts_of(learned_advantage=laf, offset=offset, learn_step_sizes=learn)
      untraced = by_part(gradient(parts, params, batch))
      assert_learns(untraced, switches)
      assert_close(found, untraced, rtol=1e-9, atol=1e-12)


def test_with_step_sizes_of_zero_nothing_is_learned_through_adaptation():
  batch = tasks()
  parts = parts_of(learned_advantage=True, step_size=0.0)
  params = params_of(parts)
  params = params._replace(rule=jax.tree.map(jnp.zeros_like, params.rule))
  adapted, _ = parts.adaptation.apply(params.net, params.rule, one(batch.support, 0), KEY)
  jax.tree.map(np.testing.assert_array_equal, adapted["policy"], params.net["policy"])
  slopes = gradient(parts, params, batch)
  assert largest(slopes.net["advantage"]) == 0
  assert_close(slopes.rule["offset"], slopes.net["policy"], rtol=1e-12)


def test_an_advantage_of_zero_leaves_the_offset_alone_to_adapt():
  batch, parts = tasks(), parts_of(learned_advantage=True)
  params = params_of(parts)
  params.net["advantage"]["layer_1"] = jax.tree.map(jnp.zeros_like, params.net["advantage"]["layer_1"])
  adapted, _ = parts.adaptation.apply(params.net, params.rule, one(batch.support, 0), KEY)
  assert_close(adapted["policy"], jax.tree.map(jnp.add, params.net["policy"], params.rule["offset"]), rtol=1e-12)
  slopes = gradient(parts, params, batch)
  assert_close(slopes.rule["offset"], slopes.net["policy"], rtol=1e-12)
  # Layers before a last one of zeros learn nothing: psi must not start there.
  assert largest(slopes.net["advantage"]["layer_0"]) == 0
  assert largest(slopes.net["advantage"]["layer_1"]) > 0
  assert np.any(parts.init_net(KEY)["advantage"]["layer_1"]["kernel"])


def test_domain_randomisation_learns_a_policy_and_nothing_else():
  algorithm = norml(PROBLEM, **SMALL, learned_advantage=False, offset=False, step_size=0.0)
  state = algorithm.init(KEY)
  update = jax.jit(algorithm.update)
  after = state
  for seed in range(3):
    after, _ = update(after, tasks(seed), KEY)
  kept = lambda params: (params.net["advantage"], params.rule)  # noqa: E731
  jax.tree.map(np.testing.assert_array_equal, kept(after.params), kept(state.params))
  moves = jax.tree.map(lambda a, b: largest(a - b), after.params.net["policy"], state.params.net["policy"])
  assert min(jax.tree.leaves(moves)) > 1e-3
  adapted = algorithm.adapt(after.params, one(tasks().support, 0), KEY)
  jax.tree.map(np.testing.assert_array_equal, adapted, {"policy": after.params.net["policy"]})


def test_variants_as_traced_switches_take_the_same_update_step():
  make = partial(norml, PROBLEM, **SMALL, learning_rate=0.01)
  names = ("learned_advantage", "offset", "learn_step_sizes", "step_size")
  values_of_variants = {
    "domain_randomisation": (False, False, False, 0.0),
    "maml": (False, False, True, 0.2),
    "maml_offset": (False, True, True, 0.2),
    "norml_without_offset": (True, False, False, 0.2),
    "norml": (True, True, False, 0.2),
  }
  variants = {name: dict(zip(names, values, strict=True)) for name, values in values_of_variants.items()}

  @jax.jit
  def traced(values, state):
    return make(**values).update(state, tasks(), KEY)

  results = {}
  for name, values in variants.items():
    algorithm = make(**values)
    expected, metrics = jax.jit(algorithm.update)(start(algorithm), tasks(), KEY)
    results[name], found = traced(values, start(algorithm))
    assert_close((results[name].params, found), (expected.params, metrics), rtol=1e-7, atol=1e-9)
  for one_of, other in itertools.combinations(results, 2):
    assert largest(jax.tree.map(jnp.subtract, results[one_of].params, results[other].params)) > 1e-6, (one_of, other)


def test_first_order_takes_the_gradient_at_the_adapted_policy():
  batch = tasks()
  arguments = {"learned_advantage": False, "learn_step_sizes": True}
  params = params_of(parts_of())
  slopes = gradient(parts_of(**arguments, first_order=True), params, batch)
  assert_close(slopes.net["policy"], slopes.rule["offset"], rtol=1e-12)
  exact = gradient(parts_of(**arguments), params, batch)
  assert_close(slopes.rule, exact.rule, rtol=1e-9, atol=1e-12)
  assert largest(jax.tree.map(jnp.subtract, slopes.net["policy"], exact.net["policy"])) > 1e-3


def test_first_order_with_a_learned_advantage_is_refused():
  with pytest.raises(ValueError, match="first_order=True with learned_advantage=True"):
    norml(PROBLEM, first_order=True)
  norml(PROBLEM, first_order=True, learned_advantage=False)


# Without rewards


def test_only_without_rewards_in_its_support_does_the_agent_say_that_it_reads_none():
  assert not norml(PROBLEM).reads_reward
  assert not norml(PROBLEM, learned_advantage=True).reads_reward
  assert norml(PROBLEM, learned_advantage=False).reads_reward
  asked = []
  jax.eval_shape(lambda laf: asked.append(norml(PROBLEM, learned_advantage=laf).reads_reward), True)
  assert asked == [True]


def with_support_reward(batch, reward):
  return batch._replace(support=batch.support._replace(reward=reward))


@pytest.mark.parametrize("traced", [False, True])
def test_a_learned_advantage_adapts_and_learns_the_same_whatever_the_rewards_of_its_support(traced):
  """Not even numbers that are none reach it, where both kinds of adaptation are computed and one chosen."""

  @jax.jit
  def run(laf, support_reward):
    algorithm = norml(PROBLEM, **SMALL, learned_advantage=laf if traced else True, learn_step_sizes=True, step_size=0.5)
    state = algorithm.init(KEY)
    batch = with_support_reward(tasks(), support_reward)
    updated, metrics = algorithm.update(state, batch, KEY)
    return algorithm.adapt(state.params, one(batch.support, 0), KEY), updated.params, metrics

  reward = tasks().support.reward
  expected = run(True, reward)
  for other in (jnp.full_like(reward, jnp.nan), jnp.full_like(reward, jnp.inf), -7.0 * reward):
    jax.tree.map(np.testing.assert_array_equal, run(True, other), expected)
  assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(expected))
  if not traced:
    jax.tree.map(np.testing.assert_array_equal, run(True, None), expected)


@pytest.mark.parametrize("traced", [False, True])
def test_adaptation_that_reads_rewards_is_refused_episodes_without(traced):
  def adapt(laf):
    algorithm = norml(PROBLEM, **SMALL, learned_advantage=laf)
    support = one(tasks(rewards_in_support=False).support, 0)
    return algorithm.adapt(algorithm.init(KEY).params, support, KEY)

  with pytest.raises(ValueError, match="no rewards"):
    jax.eval_shape(adapt, False) if traced else adapt(False)


def test_queries_are_judged_by_rewards():
  algorithm = norml(PROBLEM, **SMALL)
  batch = tasks()
  without = batch._replace(query=batch.query._replace(reward=None))
  with pytest.raises(ValueError, match="no rewards"):
    jax.eval_shape(lambda: algorithm.update(algorithm.init(KEY), without, KEY))


# What does not matter


@pytest.fixture(params=[True, False], ids=["learned", "rewards"])
def agent(request):
  """Parts, parameters, and whether there is a learned advantage."""
  parts = parts_of(learned_advantage=request.param)
  return parts, params_of(parts), request.param


def test_the_scale_of_the_learned_advantage_and_that_of_the_step_sizes_are_one():
  parts = parts_of(learned_advantage=True)
  params = params_of(parts)
  support = one(tasks().support, 0)
  expected, _ = parts.adaptation.apply(params.net, params.rule, support, KEY)
  c = 7.0
  psi = params.net["advantage"]
  net = params.net | {"advantage": psi | {"layer_1": jax.tree.map(lambda leaf: c * leaf, psi["layer_1"])}}
  rule = params.rule | {"step_size": jax.tree.map(lambda leaf: leaf / c, params.rule["step_size"])}
  assert_close(parts.adaptation.apply(net, rule, support, KEY)[0], expected, rtol=1e-12)
  assert largest(jax.tree.map(jnp.subtract, expected["policy"], params.net["policy"])) > 1e-2


def test_the_order_of_episodes_does_not_matter(agent):
  parts, params, _ = agent
  gradient = make_gradient(parts)
  batch, order = tasks(), jnp.array([3, 0, 4, 2, 1])
  reordered = batch._replace(
    support=jax.tree.map(lambda leaf: leaf[:, :, order], batch.support),
    query=jax.tree.map(lambda leaf: leaf[:, order], batch.query),
  )
  assert_close(gradient(params, reordered), gradient(params, batch), rtol=1e-8, atol=1e-11)


def test_with_a_learned_advantage_the_order_of_transitions_does_not_matter():
  parts = parts_of(learned_advantage=True)
  params = params_of(parts)
  support = one(tasks().support, 0)
  reordered = jax.tree.map(lambda leaf: leaf[:, :, ::-1], support)
  apply = jax.jit(parts.adaptation.apply)
  assert_close(apply(params.net, params.rule, reordered, KEY), apply(params.net, params.rule, support, KEY), rtol=1e-10)


def test_what_stands_past_the_end_of_an_episode_does_not_matter(agent):
  parts, params, _ = agent
  batch, gradient = tasks(), make_gradient(parts)

  def filled(episodes, seed):
    past = episodes.mask[..., None] == 0
    other = redrawn(episodes, seed, 30.0)
    choose = lambda a, b: jnp.where(past, b, a)  # noqa: E731
    return episodes._replace(
      observation=choose(episodes.observation, other.observation),
      action=choose(episodes.action, other.action),
      next_observation=choose(episodes.next_observation, other.next_observation),
    )

  changed = batch._replace(support=filled(batch.support, 5), query=filled(batch.query, 6))
  assert largest(jax.tree.map(jnp.subtract, changed, batch)) > 10
  assert_close(gradient(params, changed), gradient(params, batch), rtol=1e-9, atol=1e-12)


def padded(episodes, steps):
  """With so many steps more, all after the end."""
  return jax.tree.map(lambda leaf: jnp.concatenate([leaf, jnp.zeros_like(leaf[:, :, :, :steps])], axis=3), episodes)


def test_with_a_learned_advantage_steps_past_the_end_do_not_matter():
  parts = parts_of(learned_advantage=True)
  params = params_of(parts)
  support = jax.tree.map(lambda leaf: leaf[:1], tasks().support)
  longer = padded(support, 4)
  assert longer.mask.shape[-1] == HORIZON + 4
  expected = parts.adaptation.apply(params.net, params.rule, one(support, 0), KEY)
  assert_close(parts.adaptation.apply(params.net, params.rule, one(longer, 0), KEY), expected, rtol=1e-12)


# Several inner steps, several epochs


def test_the_offset_is_added_once_however_many_steps_there_are(agent):
  parts, params, laf = agent
  support = one(tasks(sets=3).support, 0)
  adapted, metrics = parts.adaptation.apply(params.net, params.rule, support, KEY)
  assert set(metrics) == {"inner_loss_0", "inner_loss_1", "inner_loss_2"}
  alpha, theta = flat(params.rule["step_size"]), flat(params.net["policy"])
  _, unravel = ravel_pytree(params.net["policy"])
  score = make_score(parts.policy, params.net["policy"], second_order=False)
  for step in range(3):
    episodes = one(support, step)
    weight = inner_advantage(parts, params.net, episodes, laf)
    slope = -jnp.mean(weight[:, None] * score(unravel(theta), episodes).gradient, axis=0)
    theta = theta - alpha * slope + (flat(params.rule["offset"]) if step == 0 else 0.0)
  np.testing.assert_allclose(flat(adapted["policy"]), theta, rtol=1e-8, atol=1e-10)


def ratios(parts, params, batch):
  """Of the policy adapted by these parameters to the behaviour that the query records, valid steps of all tasks."""
  found, apply = [], jax.jit(parts.adaptation.apply)
  for i in range(TASKS):
    changes, _ = apply(params.net, params.rule, one(batch.support, i), KEY)
    query = one(batch.query, i)
    now = log_prob(parts.policy, changes["policy"], query)
    mean, log_std = query.behaviour
    then = jax.scipy.stats.norm.logpdf(query.action, mean, jnp.exp(log_std)).sum(axis=-1)[np.asarray(query.mask) > 0]
    found.append(np.exp(now - then))
  return np.concatenate(found)


@pytest.mark.parametrize("arguments", [WITH_ADVANTAGE, WITH_REWARDS], ids=["learned", "rewards"])
def test_later_epochs_take_the_ratio_from_the_behaviour_of_the_first(arguments):
  values = {**arguments, "step_size": 0.5}
  make = partial(norml, PROBLEM, **SMALL, **values, learning_rate=0.1, optimizer=optax.sgd)
  once, twice = make(), make(epochs=2)
  parts, batch, state = parts_of(**values), tasks(), start(make())
  first, metrics = jax.jit(once.update)(state, batch, KEY)
  both, metrics_of_both = jax.jit(twice.update)(state, batch, KEY)
  assert int(both.step) == int(first.step) == 1
  assert_close(metrics_of_both, metrics, rtol=1e-9, atol=1e-12)

  recorded = jax.jit(partial(record_behaviour, parts.policy, parts.adaptation))(state.params, batch, KEY)
  np.testing.assert_allclose(ratios(parts, state.params, recorded), 1.0, rtol=1e-12)
  assert np.max(np.abs(ratios(parts, first.params, recorded) - 1.0)) > 1e-2
  # With the record, the first epoch is the one step alone, and the second is another step of it.
  assert_close(jax.jit(once.update)(state, recorded, KEY)[0].params, first.params, rtol=1e-9, atol=1e-12)
  second, _ = jax.jit(once.update)(first, recorded, KEY)
  assert_close(both.params, second.params, rtol=1e-9, atol=1e-12)
  forgotten, _ = jax.jit(once.update)(first, batch, KEY)
  assert largest(jax.tree.map(jnp.subtract, forgotten.params, second.params)) > 1e-5


def test_the_learning_rate_falls_on_a_line_to_zero_over_the_epochs_of_its_updates():
  """Two updates of two epochs go 4, 3, 2 and 1 quarters of a step; the third goes none."""
  make = partial(norml, PROBLEM, **SMALL, step_size=0.5, optimizer=optax.sgd)
  parts = parts_of(step_size=0.5)
  record = jax.jit(partial(record_behaviour, parts.policy, parts.adaptation))
  update = jax.jit(make(learning_rate=0.1, epochs=2, decay_steps=2).update)
  by_rate = jax.jit(lambda rate, state, batch: make(learning_rate=rate).update(state, batch, KEY)[0])
  state = start(make(learning_rate=0.1, epochs=2, decay_steps=2))
  for number, rates in enumerate([(0.1, 0.075), (0.05, 0.025)]):
    recorded = record(state.params, tasks(number), KEY)
    alone = start(make(learning_rate=0.1))._replace(params=state.params)
    for rate in rates:
      alone = by_rate(rate, alone, recorded)
    state, _ = update(state, tasks(number), KEY)
    assert_close(state.params, alone.params, rtol=1e-5, atol=1e-7)  # a schedule is in single precision
  after, _ = update(state, tasks(2), KEY)
  jax.tree.map(np.testing.assert_array_equal, after.params, state.params)
