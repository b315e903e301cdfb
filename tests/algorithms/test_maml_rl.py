"""MAML-RL, its variants and Reptile, against gradients written out for one task."""

import importlib
from functools import cache
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.flatten_util import ravel_pytree
from policy_gradients_by_hand import (
  advantage,
  assert_close,
  flat,
  largest,
  log_prob,
  make_score,
  one,
  quadratic,
  redrawn,
)
from small_episodes import EPISODES, PROBLEM, TASKS, tasks

from macaw_jax.adaptation.policy_gradient_step import policy_gradient_step
from macaw_jax.algorithms import maml_rl, policy_gradient_inner, reptile
from macaw_jax.algorithms.maml_rl import TRAINS
from macaw_jax.learners.gradient import gradient_of, learner, meta_loss
from macaw_jax.learners.policy_gradient import divergence_from_behaviour, record_behaviour
from macaw_jax.objectives.episodes import SURROGATES
from macaw_jax.types import MetaParams, TaskBatch, Trajectory

pytestmark = pytest.mark.usefixtures("double_precision")
KEY = jax.random.key(0)


def small(surrogate="log_prob", **settings):
  """Inner steps of a small policy."""
  return policy_gradient_inner(hidden_sizes=(4,), surrogate=surrogate, **settings)


def objective(inner=None, **settings):
  """The inner steps of MAML-RL, and its loss of a batch of tasks."""
  module = importlib.import_module(maml_rl.__module__)
  inner = inner or small()
  with mock.patch.object(module, "gradient_of", wraps=gradient_of) as gradient_of_loss:
    maml_rl(PROBLEM, inner=inner, **settings)
  of_rule = {name: settings[name] for name in ("learn_step_sizes", "first_order") if name in settings}
  return inner(PROBLEM, **of_rule), gradient_of_loss.call_args.args[0]


def params_of(parts):
  """Parameters far from where they start; no two step sizes are equal."""
  net = {"policy": redrawn(parts.policy.init(KEY), 1, 0.5)}
  rule = parts.adaptation.init(net)
  step_size = jax.tree.map(lambda leaf: 0.3 + 0.1 * jnp.tanh(leaf), redrawn(rule["step_size"], 3, 1.0))
  return MetaParams(net, rule | {"step_size": step_size})


@cache
def compiled_gradient(loss):
  return jax.jit(gradient_of(loss))


def gradient(loss, params, batch):
  return compiled_gradient(loss)(params, batch, KEY)[0]


def with_step_sizes_of_zero(params):
  return params._replace(rule=jax.tree.map(jnp.zeros_like, params.rule))


def start(algorithm):
  """Its first state, in double precision."""
  state = algorithm.init(KEY)
  return jax.tree.map(lambda leaf: leaf.astype(float) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf, state)


def weights(episodes):
  return advantage(episodes, quadratic, PROBLEM.discount, normalise=True)


def slope_of(score, params, episodes):
  """Of -mean A log pi of one task, flat."""
  return -jnp.mean(weights(episodes)[:, None] * score(params, episodes).gradient, axis=0)


def mean_over_tasks(of_task):
  of_tasks = [of_task(index) for index in range(TASKS)]
  return jax.tree.map(lambda *leaves: sum(leaves) / TASKS, *of_tasks)


def score_of(parts, params, **options):
  return make_score(parts.policy, params.net["policy"], **options)


def adapted_by_hand(score, params, support):
  """The policy after the inner steps of 'log_prob' on a support `[K, E, H, ...]`, and the slope of each step."""
  theta, unravel = ravel_pytree(params.net["policy"])
  alpha, slopes = flat(params.rule["step_size"]), []
  for index in range(len(support.mask)):
    slopes.append(slope_of(score, unravel(theta), one(support, index)))
    theta = theta - alpha * slopes[-1]
  return unravel(theta), slopes


def assert_differs(one_of, other, least=1e-4):
  assert largest(jax.tree.map(jnp.subtract, one_of, other)) > least


# Meta-gradients


@pytest.mark.parametrize("surrogate", ["log_prob", "ratio"])
def test_the_meta_gradient_is_that_of_the_closed_forms(surrogate):
  parts, loss = objective(small(surrogate), learn_step_sizes=True)
  params, batch = params_of(parts), tasks()
  score, alpha = score_of(parts, params), flat(params.rule["step_size"])

  def of_task(index):
    support, query = one(batch.support, index, 0), one(batch.query, index)
    inner, weight = score(params.net["policy"], support), weights(support)
    adapted, (slope,) = adapted_by_hand(score, params, one(batch.support, index))
    v = slope_of(score, adapted, query)
    curvature = inner.hessian
    if surrogate == "ratio":
      curvature += inner.gradient[:, :, None] * inner.gradient[:, None, :]
    through = jnp.mean(weight[:, None, None] * curvature, axis=0) @ (alpha * v)
    return {"policy": v + through, "step_size": -slope * v}

  found, expected = gradient(loss, params, batch), mean_over_tasks(of_task)
  assert {"outer_loss": tuple(expected)} == TRAINS
  np.testing.assert_allclose(flat(found.net["policy"]), expected["policy"], rtol=1e-7, atol=1e-9)
  np.testing.assert_allclose(flat(found.rule["step_size"]), expected["step_size"], rtol=1e-7, atol=1e-9)
  assert found.rule.keys() == {"step_size"}
  assert largest(expected["step_size"]) > 1e-3


def test_step_sizes_learn_only_where_they_are_told_to():
  batch = tasks()
  params = params_of(objective()[0])
  traced = jax.jit(lambda learn: gradient(objective(learn_step_sizes=learn)[1], params, batch))
  for learn in (False, True):
    found = gradient(objective(learn_step_sizes=learn)[1], params, batch)
    assert (largest(found.rule["step_size"]) > 1e-3) if learn else (largest(found.rule["step_size"]) == 0)
    assert_close(traced(learn), found, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("surrogate", SURROGATES)
def test_with_step_sizes_of_zero_the_meta_gradient_is_the_policy_gradient(surrogate):
  parts, loss = objective(small(surrogate))
  params, batch = with_step_sizes_of_zero(params_of(parts)), tasks()
  score = score_of(parts, params, second_order=False)
  expected = mean_over_tasks(lambda index: slope_of(score, params.net["policy"], one(batch.query, index)))
  found = gradient(loss, params, batch)
  np.testing.assert_allclose(flat(found.net["policy"]), expected, rtol=1e-7, atol=1e-9)


def test_first_order_places_the_gradient_at_the_adapted_policy_on_the_initial_one():
  parts, loss = objective(first_order=True)
  params, batch = params_of(parts), tasks(sets=2)
  score = score_of(parts, params, second_order=False)

  def of_task(index):
    adapted, _ = adapted_by_hand(score, params, one(batch.support, index))
    return slope_of(score, adapted, one(batch.query, index))

  found = gradient(loss, params, batch)
  np.testing.assert_allclose(flat(found.net["policy"]), mean_over_tasks(of_task), rtol=1e-7, atol=1e-9)
  assert_differs(found, gradient(objective()[1], params, batch))


def test_several_inner_steps_are_differentiated_one_through_the_other():
  parts, loss = objective(learn_step_sizes=True)
  params, batch = params_of(parts), tasks(sets=3)

  def written_out(theta, alpha, support, query):
    _, unravel = ravel_pytree(params.net["policy"])

    def surrogate_of(theta, episodes):
      return -jnp.mean(weights(episodes) * log_prob(parts.policy, unravel(theta), episodes))

    for index in range(3):
      theta = theta - alpha * jax.grad(surrogate_of)(theta, one(support, index))
    return surrogate_of(theta, query)

  theta, alpha = flat(params.net["policy"]), flat(params.rule["step_size"])
  by_hand = jax.grad(written_out, argnums=(0, 1))
  expected = mean_over_tasks(lambda index: by_hand(theta, alpha, one(batch.support, index), one(batch.query, index)))
  found = gradient(loss, params, batch)
  np.testing.assert_allclose(flat(found.net["policy"]), expected[0], rtol=1e-7, atol=1e-9)
  np.testing.assert_allclose(flat(found.rule["step_size"]), expected[1], rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("first_order", [False, True])
def test_on_a_quadratic_task_the_meta_gradient_and_its_fixed_point_are_known(first_order):
  """Both losses are |theta - c_i|^2 / 2: the gradient is (1 - alpha)^2 (theta - mean c_i), in first order 1 - alpha."""
  alpha, centres = 0.3, jnp.array([[1.0, -2.0], [4.0, 0.5], [-2.0, 3.0]])

  def loss(params, episodes, key):
    return 0.5 * jnp.sum((params["policy"] - episodes.observation[0, 0]) ** 2), {}

  rule = policy_gradient_step(loss, step_size=alpha, first_order=first_order)
  query = Trajectory(centres[:, None, None], *[jnp.zeros((TASKS, 1, 1, 2))] * 2, jnp.ones((TASKS, 1, 1)), None)
  batch = TaskBatch(jax.tree.map(lambda leaf: leaf[:, None], query), query, jnp.arange(TASKS))
  algorithm = learner(
    init_net=lambda key: {"policy": jnp.array([7.0, 9.0])},
    adaptation=rule,
    meta_gradient=gradient_of(meta_loss(rule, loss)),
    optimizer=optax.sgd(0.5),
    act=lambda *_: None,
  )
  state, factor = algorithm.init(KEY), (1 - alpha) ** (1 if first_order else 2)
  slopes, _ = gradient_of(meta_loss(rule, loss))(state.params, batch, KEY)
  expected = factor * (state.params.net["policy"] - jnp.mean(centres, axis=0))
  np.testing.assert_allclose(slopes.net["policy"], expected, rtol=1e-12)
  update = jax.jit(algorithm.update)
  for _ in range(120):
    state, _ = update(state, batch, KEY)
  np.testing.assert_allclose(state.params.net["policy"], jnp.mean(centres, axis=0), atol=1e-9)


# Surrogates


@pytest.mark.parametrize("surrogate", SURROGATES)
def test_every_surrogate_follows_a_policy_gradient_and_learns_finite_numbers(surrogate):
  """The first derivative is the same but for DiCE's, whose rewards are raw and discounted to the start."""
  algorithm = maml_rl(PROBLEM, inner=small(surrogate, loaded_lambda=0.5), learn_step_sizes=True)
  state, batch = start(algorithm), tasks(sets=2)
  updated, metrics = jax.jit(algorithm.update)(state, batch, KEY)
  assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves((updated.params, metrics)))
  moved = jax.tree.map(lambda a, b: largest(a - b), updated.params, state.params)
  assert min(jax.tree.leaves((moved.net, moved.rule["step_size"]))) > 1e-5

  parts, _ = objective(small(surrogate, loaded_lambda=0.5))
  params, support = params_of(parts), one(batch.support, 0, slice(1))
  adapted, _ = parts.adaptation.apply(params.net, params.rule, support, KEY)
  episodes = one(support, 0)
  score = score_of(parts, params, second_order=False)
  expected = slope_of(score, params.net["policy"], episodes)
  if surrogate == "dice":
    raw = advantage(episodes, quadratic, PROBLEM.discount, normalise=False)
    steps = np.broadcast_to(np.arange(episodes.mask.shape[1]), episodes.mask.shape)[np.asarray(episodes.mask) > 0]
    credit = PROBLEM.discount**steps * raw
    expected = -jnp.mean(credit[:, None] * score(params.net["policy"], episodes).gradient, axis=0)
  by_hand = flat(params.net["policy"]) - flat(params.rule["step_size"]) * expected
  np.testing.assert_allclose(flat(adapted["policy"]), by_hand, rtol=1e-7, atol=1e-9)


def test_an_unknown_surrogate_is_refused():
  with pytest.raises(ValueError, match="surrogate='traj'"):
    policy_gradient_inner(surrogate="traj")(PROBLEM)


def test_episodes_without_rewards_are_refused():
  algorithm = maml_rl(PROBLEM, inner=small())
  assert algorithm.reads_reward
  support = one(tasks(rewards_in_support=False).support, 0)
  with pytest.raises(ValueError, match="no rewards"):
    jax.eval_shape(lambda: algorithm.adapt(algorithm.init(KEY).params, support, KEY))


@pytest.mark.parametrize("steps", [1, 4])
def test_steps_past_the_end_do_not_matter(steps):
  """Features of time do not know the horizon, and so the whole update can be padded."""
  _, loss = objective(small("ratio"))
  parts, _ = objective()
  params, batch = params_of(parts), tasks()

  def padded(episodes, axis):
    def pad(leaf):
      shape = (*leaf.shape[:axis], steps, *leaf.shape[axis + 1 :])
      return jnp.concatenate([leaf, jnp.zeros(shape)], axis=axis)

    return jax.tree.map(pad, episodes)

  longer = batch._replace(support=padded(batch.support, 3), query=padded(batch.query, 2))
  assert_close(gradient(loss, params, longer), gradient(loss, params, batch), rtol=1e-8, atol=1e-11)


# E-MAML


def test_the_sampling_credit_is_for_one_step_on_the_same_data():
  with pytest.raises(ValueError, match="sampling_credit=True with epochs=5"):
    maml_rl(PROBLEM, sampling_credit=True, epochs=5)


@pytest.mark.parametrize("scale", [1.0, 100.0])
def test_the_sampling_credit_does_not_depend_on_the_size_of_rewards(scale):
  parts, plain = objective()
  _, credited = objective(sampling_credit=True)
  params, batch = params_of(parts), tasks()
  scaled = batch._replace(query=batch.query._replace(reward=scale * batch.query.reward))
  found = [jax.jit(loss)(params, scaled, KEY)[0] for loss in (credited, plain)]
  expected = [jax.jit(loss)(params, batch, KEY)[0] for loss in (credited, plain)]
  np.testing.assert_allclose(found[0] - found[1], expected[0] - expected[1], rtol=1e-6)


@pytest.mark.parametrize("surrogate", ["ratio", "dice", "loaded_dice"])
def test_crediting_the_choice_of_data_twice_is_refused(surrogate):
  with pytest.raises(ValueError, match=f"sampling_credit=True with surrogate='{surrogate}'"):
    maml_rl(PROBLEM, inner=small(surrogate), sampling_credit=True)


def test_the_sampling_credit_raises_the_likelihood_of_data_that_led_to_better_returns_than_others():
  parts, plain = objective()
  _, credited = objective(sampling_credit=True)
  params, batch = params_of(parts), tasks(sets=2)
  score = score_of(parts, params, second_order=False)
  returns = np.asarray(batch.query.reward).sum(axis=-1).mean(axis=-1)
  credits = (returns - returns.mean()) / returns.std()
  steps_of_episode = np.asarray(batch.support.mask)[:, 0].sum() / (TASKS * EPISODES)

  def of_task(index):
    first = one(batch.support, index, 0)
    total = score(params.net["policy"], first).gradient.sum(axis=0)
    return -credits[index] * total / len(first.mask) / steps_of_episode

  difference = jax.tree.map(jnp.subtract, gradient(credited, params, batch), gradient(plain, params, batch))
  expected = mean_over_tasks(of_task)
  assert largest(expected) > 1e-2
  np.testing.assert_allclose(flat(difference.net["policy"]), expected, rtol=1e-7, atol=1e-9)
  assert largest(difference.rule) == 0


# ProMP


def recorded(parts, params, batch):
  return jax.jit(lambda params: record_behaviour(parts.policy, parts.adaptation, params, batch, KEY))(params)


def test_the_divergence_from_the_behaviour_policy_begins_at_zero_with_the_fisher_matrix_as_its_hessian():
  parts, _ = objective(small("ratio"))
  params, batch = params_of(parts), tasks()
  support = one(recorded(parts, params, batch).support, 0)
  theta, unravel = ravel_pytree(params.net["policy"])

  def divergence(theta):
    moved = params._replace(net={"policy": unravel(theta)})
    return divergence_from_behaviour(parts.policy, parts.adaptation, moved, support, KEY)

  np.testing.assert_allclose(divergence(theta), 0.0, atol=1e-14)
  np.testing.assert_allclose(jax.jit(jax.grad(divergence))(theta), 0.0, atol=1e-14)

  episodes = one(support, 0)

  def distribution(theta):
    return parts.policy.distribution(unravel(theta), episodes.observation)

  of_mean, of_log_std = jax.jit(jax.jacrev(distribution))(theta)
  variance = jnp.exp(2 * distribution(theta).log_std)
  fisher = jnp.einsum("ehap,eha,ehaq->ehpq", of_mean, 1 / variance, of_mean)
  fisher += 2 * jnp.einsum("ehap,ehaq->ehpq", of_log_std, of_log_std)
  expected = jnp.mean(fisher[np.asarray(episodes.mask) > 0], axis=0)
  np.testing.assert_allclose(jax.jit(jax.hessian(divergence))(theta), expected, rtol=1e-8, atol=1e-10)


def test_at_the_first_epoch_promp_has_the_gradient_of_the_plain_ratio_and_later_another():
  arguments = {"inner": small("ratio"), "learn_step_sizes": True}
  parts, plain = objective(**arguments, clip=None)
  _, promp = objective(**arguments, clip=0.05, kl_weight=0.7)
  _, unpenalised = objective(**arguments, clip=0.05)
  params, batch = params_of(parts), tasks(sets=2)
  noted = recorded(parts, params, batch)
  assert_close(gradient(promp, params, noted), gradient(plain, params, batch), rtol=1e-8, atol=1e-11)

  moved = params._replace(net=jax.tree.map(lambda leaf: leaf + 0.05, params.net))
  with_penalty, without = (gradient(loss, moved, noted) for loss in (promp, unpenalised))
  assert_differs(with_penalty, without)
  # The inner ratio too is to the behaviour policy.
  forgetful = noted._replace(support=noted.support._replace(behaviour=None))
  assert_differs(without, gradient(unpenalised, moved, forgetful))

  def penalty(params):
    each = [
      divergence_from_behaviour(parts.policy, parts.adaptation, params, one(noted.support, index), KEY)
      for index in range(TASKS)
    ]
    return 0.7 * sum(each) / TASKS

  difference = jax.tree.map(jnp.subtract, with_penalty, without)
  assert_close(difference, jax.jit(jax.grad(penalty))(moved), rtol=1e-7, atol=1e-10)


def test_promp_is_a_step_of_five_epochs():
  algorithm = maml_rl(PROBLEM, inner=small("ratio"), epochs=5, clip=0.3, kl_weight=5e-4)
  state = start(algorithm)
  updated, metrics = jax.jit(algorithm.update)(state, tasks(), KEY)
  assert updated.step == 1
  assert updated.opt_state[0].count == 5
  np.testing.assert_allclose(metrics["divergence"], 0.0, atol=1e-12)
  assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(updated.params))


# Reptile


@pytest.mark.parametrize("steps", [1, 2])
def test_reptile_goes_part_of_the_way_to_the_mean_adapted_policy(steps):
  """With one inner step that is a step of joint training, of -alpha beta mean grad L."""
  alpha, beta = 0.4, 0.25
  algorithm = reptile(PROBLEM, inner=small(step_size=alpha), learning_rate=beta)
  parts, _ = objective()
  state, batch = start(algorithm), tasks(sets=steps)
  state = state._replace(params=state.params._replace(net={"policy": redrawn(state.params.net["policy"], 1, 0.5)}))
  updated, metrics = jax.jit(algorithm.update)(state, batch, KEY)
  score, theta = score_of(parts, state.params, second_order=False), flat(state.params.net["policy"])

  def change(index):
    adapted, slopes = adapted_by_hand(score, state.params, one(batch.support, index))
    if steps == 1:
      np.testing.assert_allclose(flat(adapted) - theta, -alpha * slopes[0], rtol=1e-6)
    return flat(adapted) - theta

  expected = theta + beta * mean_over_tasks(change)
  np.testing.assert_allclose(flat(updated.params.net["policy"]), expected, rtol=1e-7, atol=1e-9)
  jax.tree.map(np.testing.assert_array_equal, updated.params.rule, state.params.rule)
  assert set(metrics) == {f"inner_loss_{index}" for index in range(steps)}


def test_reptile_reads_no_query():
  algorithm = reptile(PROBLEM, inner=small())
  state, update = start(algorithm), jax.jit(algorithm.update)
  other = tasks()._replace(query=tasks(7).query)
  jax.tree.map(np.testing.assert_array_equal, update(state, tasks(), KEY), update(state, other, KEY))


@pytest.mark.parametrize("argument", ["learn_step_sizes", "first_order", "clip", "epochs"])
def test_reptile_has_no_use_for_arguments_of_a_meta_gradient(argument):
  with pytest.raises(TypeError, match=argument):
    reptile(PROBLEM, **{argument: 1})
