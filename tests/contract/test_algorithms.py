"""What every algorithm of the table keeps, whatever it does inside."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from pieces import pieces_of
from small_agents import small_agent
from small_episodes import tasks as tasks_of_episodes
from small_episodes import told

from macaw_jax.algorithms import ALGORITHMS, ON_POLICY, RELEASED, macaw, multitask_awr, multitask_bc
from macaw_jax.algorithms.csro import RELEASED as CSRO_RELEASED
from macaw_jax.algorithms.macaw import TRAINS
from macaw_jax.types import Problem, TaskBatch, TimeStep, Transition

PROBLEM = Problem(observation_size=3, action_size=2, num_tasks=4, discount=0.9)
TASKS, ROWS = 3, 8
KEY = jax.random.key(0)

# Every algorithm as it is by default, and the variants that are settings. Those that are also run without compilation
# are one of each learner, and of each kind of inner loss.
FEW_QUERIES = {"queries_per_task": 4}
TWO_SHARES = tuple(step for step in CSRO_RELEASED["steps"] if step.share < 2)
VARIANTS = {
  **{name: (name, {}) for name in ALGORITHMS if name not in RELEASED},
  "macaw, bias transform": ("macaw", {"layer": "bias_transform"}),
  "macaw, first order": ("macaw", {"first_order": True}),
  "macaw, two steps": ("macaw", {"adaptation_steps": 2}),
  "macaw, fixed step sizes": ("macaw", {"learn_step_sizes": False}),
  "macaw, TD(lambda)": ("macaw", {"inner_value_target": "td_lambda", "advantage_target": "td_lambda"}),
  "macaw, target network": ("macaw", {"outer_value_target": "bootstrapped", "ema_decay": 0.9}),
  "multitask_awr, weight transform": ("multitask_awr", {"layer": "weight_transform", "task_dropout": 0.5}),
  "pearl_offline, SAC": ("pearl_offline", {"actor_critic": {"name": "sac"}, "encoder": {"kl_reduction": "mean"}}),
  "pearl_offline, AWAC": ("pearl_offline", {"actor_critic": {"name": "awac"}}),
  "focal, BRAC": ("focal", {"actor_critic": {"name": "brac"}, "encoder": {"next_observation": False}}),
  "focal, adaptive penalty": ("focal", {"actor_critic": {"name": "brac", "divergence_target": 0.05}}),
  "csro, as released": ("csro_released", {"steps": TWO_SHARES}),
  "focal, encoder that stops": ("focal", {"optimizer": {"encoder_steps": 2}}),
  "unicorn, released": ("unicorn_released", {"decoder_hidden_sizes": (6,), "steps": ()}),
  "corro": ("corro", {"encoder": FEW_QUERIES}),
  "corro, generator": ("corro", {"encoder": FEW_QUERIES | {"negatives": "generator"}}),
  "corro, released": ("corro_released", {"encoder": FEW_QUERIES, "stages": (1, 1)}),
  "maml_rl, ProMP": ("maml_rl", {"inner": {"surrogate": "ratio"}, "epochs": 5, "clip": 0.3, "kl_weight": 5e-4}),
  "rl2, attention": ("rl2", {"cell": {"name": "attention", "num_heads": 2, "window": 4}}),
  "norml, rewards": ("norml", {"learned_advantage": False, "step_size": 0.5}),
}
NOT_COMPILED = ("macaw", "multitask_bc", "pearl_offline", "maml_rl, ProMP", "reptile")


def transitions(key, *shape):
  keys = iter(jax.random.split(key, 9))
  draw = lambda *sizes: jax.random.normal(next(keys), (*shape, *sizes))  # noqa: E731
  zeros = jnp.zeros(shape)
  return Transition(draw(3), draw(2), draw(), draw(3), zeros, zeros.at[..., -1].set(1), draw(), draw(3), 0.5 + zeros)


def tasks(seed=1):
  key_support, key_query = jax.random.split(jax.random.key(seed))
  return TaskBatch(transitions(key_support, TASKS, ROWS), transitions(key_query, TASKS, ROWS), jnp.array([3, 0, 2]))


def tasks_for(algorithm, name):
  """`(seed) -> TaskBatch` of what the algorithm learns from."""
  if name not in ON_POLICY:
    return tasks
  if algorithm.reads_task_index:
    return lambda seed=1: told(tasks_of_episodes(seed), [2, 0, 1], TASKS)
  return partial(tasks_of_episodes, rewards_in_support=algorithm.reads_reward)


def timestep(key, size):
  zero = jnp.zeros(())
  return TimeStep(jax.random.normal(key, (size,)), jnp.zeros((2,)), zero, zero)


@pytest.fixture(scope="module", params=VARIANTS)
def case(request):
  """An algorithm, `(seed) -> TaskBatch` for it, and whether it is run without compilation too."""
  name, settings = VARIANTS[request.param]
  algorithm = small_agent(PROBLEM, name, **settings)
  if algorithm.reads_task_index:  # of all training tasks, which its observations show
    shown = PROBLEM._replace(observation_size=PROBLEM.observation_size + TASKS, num_tasks=TASKS)
    algorithm = small_agent(shown, name, **settings)
  return algorithm, tasks_for(algorithm, name), request.param in NOT_COMPILED


def assert_close(actual, expected):
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-5), actual, expected)


def test_contract(case):
  algorithm, tasks, not_compiled = case
  state = algorithm.init(KEY)
  update, traces = algorithm.update, []

  def counted(state, tasks, key):
    traces.append(None)
    return update(state, tasks, key)

  # One trace in many calls; shapes and types are kept, and the metrics are finite scalars.
  compiled = jax.jit(counted)
  first, metrics = compiled(state, tasks(), KEY)
  after = first
  for seed in range(2, 6):
    after, _ = compiled(after, tasks(seed), jax.random.key(seed))
  assert len(traces) == 1
  assert after.step == 5
  assert jax.tree.map(lambda x: (x.shape, x.dtype), after) == jax.tree.map(lambda x: (x.shape, x.dtype), state)
  assert metrics
  assert all(value.shape == () and np.isfinite(value) for value in metrics.values())

  # Same key, same result; another initial key, another network.
  again, _ = compiled(state, tasks(), KEY)
  jax.tree.map(np.testing.assert_array_equal, again, first)
  other = algorithm.init(jax.random.key(1)).params.net
  assert not all(jax.tree.leaves(jax.tree.map(np.array_equal, other, state.params.net)))

  # Compiled equals not compiled.
  if not_compiled:
    with jax.disable_jit():
      plain, _ = algorithm.update(state, tasks(), KEY)
    assert_close(first.params, plain.params)

  # Adapting under vmap equals a loop, and changes the action.
  keys = jax.random.split(KEY, TASKS)
  support = tasks().support
  adapted = jax.jit(jax.vmap(algorithm.adapt, in_axes=(None, 0, 0)))(state.params, support, keys)
  adapt = jax.jit(algorithm.adapt)
  for task in range(TASKS):
    alone = adapt(state.params, jax.tree.map(lambda x, task=task: x[task], support), keys[task])
    assert_close(alone, jax.tree.map(lambda x, task=task: x[task], adapted))

  step = timestep(KEY, tasks().query.observation.shape[-1])
  unadapted = algorithm.prior(state.params, KEY)
  before, task = algorithm.act(state.params, unadapted, step, None)
  assert before.shape == (2,)
  assert np.all(np.abs(before) <= 1)
  if algorithm.remembers:  # It has seen the time step.
    assert jax.tree.structure(task) == jax.tree.structure(unadapted)
    assert any(jax.tree.leaves(jax.tree.map(lambda a, b: not np.array_equal(a, b), task, unadapted)))
  else:
    jax.tree.map(np.testing.assert_array_equal, task, unadapted)
  mode, _ = algorithm.act(state.params, alone, step, None)
  assert bool(alone) == algorithm.adapts
  assert np.array_equal(mode, before) == (not algorithm.adapts)
  sampled, _ = algorithm.act(state.params, alone, step, KEY)
  assert not np.array_equal(sampled, mode)


def test_an_algorithm_says_how_it_reads_a_support():
  assert [macaw(PROBLEM, adaptation_steps=k).support_parts for k in (1, 4)] == [1, 4]
  assert not macaw(PROBLEM).consecutive_rows
  assert macaw(PROBLEM, outer_value_target="td_lambda").consecutive_rows
  assert multitask_awr(PROBLEM, value_target="td_lambda").consecutive_rows
  assert multitask_bc(PROBLEM, adaptation_steps=4).support_parts == 1


@pytest.mark.parametrize(
  ("name", "settings", "rows", "setting"),
  [
    ("macaw", {"adaptation_steps": 3}, ROWS, "adaptation_steps=3"),
    ("focal", {}, 1, "support_size=1"),
    ("corro", {"encoder": {"queries_per_task": 5}}, ROWS, "queries_per_task=5"),
  ],
)
def test_a_support_that_is_too_small_is_refused_when_traced(name, settings, rows, setting):
  algorithm = small_agent(PROBLEM, name, **settings)
  batch = tasks()._replace(support=transitions(KEY, TASKS, rows))
  with pytest.raises(ValueError, match=setting):
    jax.eval_shape(lambda: algorithm.update(algorithm.init(KEY), batch, KEY))


def largest(tree):
  return max((float(jnp.max(jnp.abs(leaf))) for leaf in jax.tree.leaves(tree)), default=0.0)


@pytest.mark.parametrize("arguments", [{}, {"outer_value_target": "bootstrapped", "ema_decay": 0.9}])
def test_macaw_outer_losses_train_the_parts_that_its_table_names(arguments):
  parts = pieces_of(macaw, PROBLEM, hidden_sizes=(6,), advantage_target="bootstrapped", **arguments)
  net = parts.init_net(KEY)
  params = (net, dict(zip(("value", "policy"), parts.adaptation.init(net), strict=True)))
  batch = jax.tree.map(lambda x: x[0], tasks())

  def outer(params, name):
    net, rule = params
    changes, _ = parts.adaptation.apply(net, (rule["value"], rule["policy"]), batch.support, KEY)
    return parts.outer_loss(net | changes, batch.query, KEY)[1][name]

  for name in TRAINS:
    net_gradient, rule_gradient = jax.grad(outer)(params, name)
    for part in ("value", "policy"):
      assert (largest(net_gradient[part]) > 0) == (part in TRAINS[name]), (name, part)
      assert (largest(rule_gradient[part]) > 0) == (part in TRAINS[name]), (name, part)

  # The head is seen by the inner step alone: its weights learn through it, its own step sizes cannot with one step.
  net_gradient, rule_gradient = jax.grad(outer)(params, "policy_loss")
  assert largest(net_gradient["policy"]["head"]) > 0
  assert largest(rule_gradient["policy"]["raw_step_size"]["head"]) == 0
  assert largest(rule_gradient["policy"]["learned"]) > 0


@pytest.mark.parametrize("name", ["multitask_awr", "multitask_bc"])
def test_multitask_ignores_support_in_training_and_hides_the_task_at_test_time(name):
  algorithm = small_agent(PROBLEM, name)
  state = algorithm.init(KEY)
  batch = tasks()
  other_support = batch._replace(support=tasks(7).support)
  update = jax.jit(algorithm.update)
  jax.tree.map(
    np.testing.assert_array_equal, update(state, batch, KEY)[0].params, update(state, other_support, KEY)[0].params
  )
  # The first layer's rows that read the task vector learn in training, and cannot in fine-tuning: their input is zero.
  kernel = lambda params: np.asarray(jax.tree.leaves(params["trunk"]["layer_0"]["kernel"])[0])  # noqa: E731
  trained = update(state, batch, KEY)[0].params.net["policy"]
  seen = [3, 0, 2]
  before = kernel(state.params.net["policy"])
  assert np.all(np.any(kernel(trained)[3:][seen] != before[3:][seen], axis=-1))
  np.testing.assert_array_equal(kernel(trained)[4], before[4])
  adapted = algorithm.adapt(state.params, jax.tree.map(lambda x: x[0], batch.support), KEY)["policy"]
  np.testing.assert_array_equal(kernel(adapted)[3:], before[3:])
  assert np.any(kernel(adapted)[:3] != before[:3])
