"""Policies of known tasks beside a central one: who acts, what trains what, who starts anew, and one task alone."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from small_episodes import TASKS, told
from small_episodes import tasks as tasks_of_episodes

from macaw_jax.adaptation.memory import episodes_of
from macaw_jax.algorithms import distral, divide_and_conquer, multitask_ppo
from macaw_jax.algorithms.distral import two_columns
from macaw_jax.algorithms.divide_and_conquer import divergence_penalty
from macaw_jax.algorithms.task_policies import CENTRAL, OWN, decaying, distillation, each_alone, restarting
from macaw_jax.learners.gradient_surgery import GradientSurgery, mean_gradient
from macaw_jax.learners.ppo import ppo
from macaw_jax.networks.stochastic_policy import stochastic_policy
from macaw_jax.objectives.ppo import Judged
from macaw_jax.types import Problem, TimeStep

KEY = jax.random.key(0)
SIZE = 3 + TASKS
PROBLEM = Problem(SIZE, 2, TASKS, 0.9)
PLAIN = ppo(entropy_weight=0.0, optimizer=optax.sgd, minibatches=1, epochs=1, max_gradient_norm=100.0)
SMALL = {"hidden_sizes": (4,), "ppo": PLAIN}
POLICY = stochastic_policy(PROBLEM, SIZE, (4,))


def batch(seed=1, places=(0, 1, 2)):
  return told(tasks_of_episodes(seed), list(places), TASKS)


def updated(algorithm, tasks=None, updates=1, state=None):
  state, update = algorithm.init(KEY) if state is None else state, jax.jit(algorithm.update)
  for _ in range(updates):
    state, metrics = update(state, batch() if tasks is None else tasks, KEY)
  return state, metrics


def step_in(observation):
  return TimeStep(jnp.asarray(observation, float), jnp.zeros(2), jnp.zeros(()), jnp.zeros(()))


def assert_close(actual, expected, **tolerance):
  tolerance = {"rtol": 1e-5, "atol": 1e-7} | tolerance
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, **tolerance), actual, expected)


def assert_zero(tree):
  jax.tree.map(lambda leaf: np.testing.assert_array_equal(leaf, 0), tree)


def stacked_policies():
  return jax.vmap(POLICY.init)(jax.random.split(jax.random.key(3), TASKS))


def judged(places=(0, 1, 2)):
  """Episodes of which the losses here read steps and features alone."""
  steps = episodes_of(batch(places=places))
  features = steps.observation.at[..., -TASKS:].set(0.0)
  nothing = jnp.zeros_like(steps.mask)
  return Judged(steps, features, nothing, nothing, nothing, jnp.ones(steps.mask.shape[:-1]))


# Who acts


@pytest.mark.parametrize("make", [distral, divide_and_conquer])
def test_a_task_has_its_policy_and_an_unknown_one_the_central_policy(make):
  algorithm = make(PROBLEM, **SMALL)
  params = algorithm.init(KEY).params
  seen = [0.3, -1.0, 0.5]
  actions = [algorithm.act(params, {}, step_in([*seen, *entries]), None)[0] for entries in (*np.eye(TASKS), [0] * 3)]
  features = jnp.array([*seen, 0.0, 0.0, 0.0])  # no network sees which task it is
  of_tasks = [jax.tree.map(lambda leaf, i=i: leaf[i], params.net["policy"]) for i in range(TASKS)]
  central = POLICY.distribution(params.net[CENTRAL], features)
  for task, own in enumerate(of_tasks):
    expected = POLICY.distribution(own, features)
    if make is distral:
      expected = POLICY.product(central, expected, 0.5)
    np.testing.assert_allclose(actions[task], expected.mean, rtol=1e-5)
  np.testing.assert_allclose(actions[-1], central.mean, rtol=1e-5)
  assert len({tuple(np.round(np.asarray(action), 5)) for action in actions}) == TASKS + 1


@pytest.mark.parametrize("make", [distral, divide_and_conquer])
def test_an_update_knows_tasks_by_their_observations_in_whatever_order(make):
  algorithm = make(PROBLEM, **SMALL)
  tasks = batch()
  dealt = jax.tree.map(lambda leaf: leaf[jnp.array([2, 0, 1])], tasks)._replace(task_index=jnp.arange(TASKS))
  assert_close(updated(algorithm, tasks)[0].params, updated(algorithm, dealt)[0].params, atol=1e-6)


# What trains what


def test_the_central_policy_learns_from_the_others_and_nothing_else_does():
  policy = two_columns(POLICY, 0.5)
  loss = distillation(POLICY, policy, TASKS)
  net = {"policy": stacked_policies(), CENTRAL: POLICY.init(KEY)}
  gradient = jax.grad(lambda net: loss(net, judged((1, 2, 0)), KEY)[0])(net)
  assert_zero(gradient["policy"])

  def by_hand(central):
    total, episodes = 0.0, judged((1, 2, 0))
    for task, place in enumerate((1, 2, 0)):
      own = jax.tree.map(lambda leaf, place=place: leaf[place], net["policy"])
      features, mask = episodes.features[:, task], episodes.steps.mask[:, task]
      target = policy.distribution({CENTRAL: net[CENTRAL], "own": own}, features)
      found = POLICY.divergence(target, POLICY.distribution(central, features))
      total += jnp.sum(found * mask) / jnp.sum(mask) / TASKS
    return total

  assert_close(gradient[CENTRAL], jax.grad(by_hand)(net[CENTRAL]), rtol=1e-4, atol=1e-6)


def test_policies_of_tasks_leave_the_distilled_one_alone():
  policy = two_columns(POLICY, 0.5)
  params = {CENTRAL: POLICY.init(KEY), "own": POLICY.init(jax.random.key(1))}
  gradient = jax.grad(lambda params: jnp.sum(policy.distribution(params, jnp.ones(SIZE)).mean))(params)
  assert_zero(gradient[CENTRAL])
  assert any(np.any(leaf != 0) for leaf in jax.tree.leaves(gradient["own"]))
  still = distral(PROBLEM, **SMALL, distillation_learning_rate=0.0)
  before = still.init(KEY).params.net
  after = updated(still)[0].params.net
  jax.tree.map(np.testing.assert_array_equal, after[CENTRAL], before[CENTRAL])
  assert all(np.any(leaf != old) for part in OWN for leaf, old in _pairs(after[part], before[part]))


def _pairs(first, second):
  return zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True)


def test_a_divergence_between_tasks_moves_each_policy_with_the_others_held():
  loss = divergence_penalty(POLICY, TASKS, 0.3)
  policies, episodes = stacked_policies(), judged()
  value, metrics = loss({"policy": policies}, episodes, KEY)
  gradient = jax.grad(lambda policies: loss({"policy": policies}, episodes, KEY)[0])(policies)

  def of_task(own, i):
    """The penalty of task i, in which its own policy stands in no place but its own."""
    total = 0.0
    for j in range(TASKS):
      if j == i:
        continue
      other = jax.tree.map(lambda leaf, j=j: leaf[j], policies)
      for task in (i, j):
        features, mask = episodes.features[:, task], episodes.steps.mask[:, task]
        p, q = POLICY.distribution(own, features), POLICY.distribution(other, features)
        found = 0.5 * (POLICY.divergence(p, q) + POLICY.divergence(q, p))
        total += 0.5 * jnp.sum(found * mask) / jnp.sum(mask) / (TASKS - 1)
    return 0.3 * total

  penalties = []
  for i in range(TASKS):
    own = jax.tree.map(lambda leaf, i=i: leaf[i], policies)
    found, expected = jax.value_and_grad(of_task)(own, i)
    penalties.append(found)
    assert_close(jax.tree.map(lambda leaf, i=i: leaf[i], gradient), expected, rtol=1e-3, atol=1e-6)
  np.testing.assert_allclose(value, sum(penalties), rtol=1e-4)
  np.testing.assert_allclose(metrics["divergence_between_tasks"], sum(penalties) / TASKS / 0.3, rtol=1e-4)


def test_without_a_prior_a_task_is_moved_by_its_own_episodes_alone():
  """At so little weight of the logarithms, other actions in the last task leave all rewards as they are."""
  algorithm = distral(PROBLEM, alpha=0.0, beta=1e9, **SMALL)
  tasks = batch()
  other = tasks._replace(query=tasks.query._replace(action=tasks.query.action.at[2].multiply(0.5)))
  state = algorithm.init(KEY)
  first, second = (updated(algorithm, each, state=state)[0].params.net["policy"] for each in (tasks, other))
  for one, two in _pairs(first, second):
    np.testing.assert_allclose(one[:2], two[:2], rtol=1e-5, atol=1e-7)
    assert np.any(one[2] != two[2])


def test_surgery_combines_what_the_tasks_teach_the_central_policy():
  kept = GradientSurgery(lambda gradients, key: (jax.tree.map(lambda leaf: jnp.zeros(leaf.shape[1:]), gradients), {}))
  before = distral(PROBLEM, **SMALL).init(KEY).params.net
  plain, mean, still = (
    updated(distral(PROBLEM, gradient_surgery=surgery, **SMALL))[0].params.net
    for surgery in (None, mean_gradient(), kept)
  )
  assert_close(mean, plain, rtol=1e-4, atol=1e-6)
  jax.tree.map(np.testing.assert_array_equal, still[CENTRAL], before[CENTRAL])
  jax.tree.map(np.testing.assert_array_equal, still["policy"], plain["policy"])


def test_surgery_of_one_network_is_of_tasks():
  plain, mean = (
    updated(multitask_ppo(PROBLEM, gradient_surgery=surgery, **SMALL)) for surgery in (None, mean_gradient())
  )
  assert_close(mean[0].params.net, plain[0].params.net, rtol=1e-4, atol=1e-6)
  assert "ppo_loss_conflict_rate" in mean[1]


# Who starts anew


def test_every_so_many_updates_all_policies_become_the_central_one():
  algorithm = divide_and_conquer(PROBLEM, **{**SMALL, "ppo": PLAIN.changed(decay_steps=4)}, restart_every=2)
  state = algorithm.init(KEY)
  values = state.params.net["value"]
  for update in range(1, 5):
    state, _ = updated(algorithm, state=state)
    net = state.params.net
    restarted = all(np.all(own == new) for own, new in _pairs(net["policy"], net[CENTRAL]))
    assert restarted == (update == 2)  # with the last update of training they stay as they are
  assert all(np.all(np.std(leaf, axis=0) > 0) for leaf in jax.tree.leaves(values) if leaf.ndim > 2)
  assert not any(np.all(leaf == leaf[:1]) for leaf in jax.tree.leaves(net["value"]) if leaf.ndim > 2)


def test_an_optimiser_forgets_with_its_policy_also_after_an_update_that_was_skipped():
  algorithm = divide_and_conquer(PROBLEM, restart_every=2, **SMALL)
  state, restarts = updated(algorithm)[0], []
  state = state._replace(step=state.step + 1)  # the second is skipped
  for _ in range(3):
    state, _ = updated(algorithm, state=state)
    net = state.params.net
    restarts.append(all(np.all(own == new) for own, new in _pairs(net["policy"], net[CENTRAL])))
    assert optax.tree_utils.tree_get(state.opt_state, "begins") == restarts[-1]
  assert restarts == [False, True, False]


def test_an_optimiser_that_begins_anew_forgets():
  """Adam's first step is as long as its rate, whatever the gradient; later ones remember."""
  optimizer = restarting(optax.adam(0.1, eps=0.0))
  params = {"weight": jnp.array([1.0])}
  state, sizes = optimizer.init(params), []
  for gradient in (1.0, 3.0, 5.0, 1.0):
    state = state._replace(begins=jnp.asarray(gradient == 5.0))
    updates, state = optimizer.update({"weight": jnp.array([gradient])}, state, params)
    sizes.append(float(updates["weight"][0]))
  second, last = (
    0.1 * (0.9 * a + b) / 1.9 / np.sqrt((0.999 * a**2 + b**2) / 1.999) for a, b in ((1.0, 3.0), (5.0, 1.0))
  )
  np.testing.assert_allclose(sizes, [-0.1, -second, -0.1, -last], rtol=1e-4)


def test_steps_shrink_over_training_whatever_restarts():
  optimizer = decaying(restarting(optax.sgd(1.0)), 4)
  state, sizes = optimizer.init(jnp.zeros(())), []
  for _ in range(5):
    state = optax.tree_utils.tree_set(state, begins=jnp.ones((), bool))
    updates, state = optimizer.update(jnp.ones(()), state, jnp.zeros(()))
    sizes.append(-float(updates))
  np.testing.assert_allclose(sizes, [1.0, 0.75, 0.5, 0.25, 0.0], atol=1e-7)


def test_each_task_has_a_gradient_norm_of_its_own():
  optimizer = each_alone(optax.clip_by_global_norm(1.0))
  gradient = {"a": jnp.array([[3.0], [0.3]]), "b": jnp.array([[4.0], [0.4]])}
  found, _ = optimizer.update(gradient, optimizer.init(gradient), gradient)
  np.testing.assert_allclose(np.hstack([found["a"], found["b"]]), [[0.6, 0.8], [0.3, 0.4]], rtol=1e-6)


# One task


def test_one_task_without_penalty_is_multitask_ppo():
  """Divide and conquer of one slice with lambda = 0 is the algorithm that it is made of."""
  problem = Problem(3 + 1, 2, 1, 0.9)
  one = jax.tree.map(lambda leaf: leaf[:1], tasks_of_episodes(1))
  shown = told(one, [0], 1)
  unseen = [each._replace(observation=each.observation.at[..., -1:].set(0.0)) for each in (shown.support, shown.query)]
  settings = {**SMALL, "ppo": ppo(epochs=2, minibatches=2, max_gradient_norm=0.1)}
  parts = divide_and_conquer(problem, penalty=0.0, **settings)
  whole = multitask_ppo(problem, **settings)
  start = parts.init(KEY)
  alone = {part: jax.tree.map(lambda leaf: leaf[0], start.params.net[part]) for part in OWN}
  same = whole.init(KEY)
  same = same._replace(params=same.params._replace(net=same.params.net | alone))
  found, _ = updated(parts, shown, state=start, updates=2)
  expected, _ = updated(whole, shown._replace(support=unseen[0], query=unseen[1]), state=same, updates=2)
  for part in OWN:
    assert_close(jax.tree.map(lambda leaf: leaf[0], found.params.net[part]), expected.params.net[part], atol=1e-5)


# What is refused


@pytest.mark.parametrize("make", [distral, divide_and_conquer])
def test_an_update_without_all_training_tasks_is_refused(make):
  algorithm = make(PROBLEM._replace(num_tasks=4, observation_size=7), **SMALL)
  with pytest.raises(ValueError, match="an update has 3 tasks: expected all 4 training tasks"):
    jax.eval_shape(lambda: algorithm.update(algorithm.init(KEY), told(tasks_of_episodes(1), [0, 1, 2], 4), KEY))


def test_observations_that_cannot_show_their_task_are_refused():
  algorithm = distral(PROBLEM._replace(observation_size=3), **SMALL)
  with pytest.raises(ValueError, match="observations have 3 entries: expected more than 3"):
    jax.eval_shape(lambda: algorithm.update(algorithm.init(KEY), tasks_of_episodes(1), KEY))


def test_more_minibatches_than_episodes_of_a_task_are_refused():
  algorithm = multitask_ppo(PROBLEM, **{**SMALL, "ppo": PLAIN.changed(minibatches=11)})
  with pytest.raises(ValueError, match="minibatches=11 must not exceed the episodes of a task in an update, 10"):
    jax.eval_shape(lambda: algorithm.update(algorithm.init(KEY), batch(), KEY))
