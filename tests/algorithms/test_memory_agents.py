"""RL^2 and VariBAD: which loss trains which part, online and on recorded data, and what acting remembers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_agents import small_agent
from small_episodes import episodes

from macaw_jax.actor_critics import iql
from macaw_jax.adaptation.memory import MEMORY, recorded_trials, steps_of_rows, steps_of_support
from macaw_jax.algorithms import recurrent_belief, rl2, rl2_offline, varibad
from macaw_jax.algorithms.rl2 import TRAINS as RL2_TRAINS
from macaw_jax.algorithms.varibad import TRAINS as VARIBAD_TRAINS
from macaw_jax.learners.gradient_surgery import mean_gradient
from macaw_jax.networks.cells import gru
from macaw_jax.types import LATENT, Problem, TaskBatch, TimeStep, Transition

PROBLEM = Problem(observation_size=3, action_size=2, num_tasks=4, discount=0.9)
KEY = jax.random.key(0)


def trials(seed=1, tasks=3, sets=2):
  """Trials of `sets` episodes before the last, as an agent that remembers acts in them."""
  keys = jax.random.split(jax.random.key(seed), 2)
  one = lambda tree: jax.tree.map(lambda leaf: leaf[..., :1, :, :] if leaf.ndim == 5 else leaf[..., :1, :], tree)  # noqa: E731
  support = one(episodes(keys[0], tasks, sets))
  query = jax.tree.map(lambda leaf: leaf[:, :1], episodes(keys[1], tasks))
  return TaskBatch(support, query, jnp.arange(tasks))


def moved(before, after):
  return {
    part
    for part in before
    if any(jax.tree.leaves(jax.tree.map(lambda a, b: not np.array_equal(a, b), before[part], after[part])))
  }


def test_rl2_trains_its_memory_through_time_and_varibad_its_belief_by_the_bound_alone():
  batch = trials()
  agent = small_agent(PROBLEM, "rl2", ppo={"epochs": 1})
  state = agent.init(KEY)
  after, metrics = jax.jit(agent.update)(state, batch, KEY)
  assert moved(state.params.net, after.params.net) == {*RL2_TRAINS["ppo_loss"], "returns"}
  assert metrics["divergence"] < 1e-3

  # Without a rate the belief stands still, whatever PPO does; and the other way round.
  for changes, losses in (
    ({"belief_learning_rate": 0.0}, ("ppo_loss",)),
    ({"ppo": {"learning_rate": 0.0}}, ("elbo_loss",)),
  ):
    agent = small_agent(PROBLEM, "varibad", **changes)
    state = agent.init(KEY)
    after, _ = jax.jit(agent.update)(state, batch, KEY)
    expected = {part for name in losses for part in VARIBAD_TRAINS[name]} | {"returns", "outcomes"}
    assert moved(state.params.net, after.params.net) == expected


def test_the_policy_reads_the_beliefs_that_acted():
  """In later epochs too, when the belief has moved: a policy that stands still does not diverge from itself."""
  settings = {"minibatches": 1, "learning_rate": 0.0, "max_gradient_norm": 10.0, "epochs": 3}
  agent = small_agent(PROBLEM, "varibad", belief_learning_rate=10.0, ppo=settings)
  _, metrics = jax.jit(agent.update)(agent.init(KEY), trials(), KEY)
  np.testing.assert_allclose(metrics["divergence"], 0, atol=1e-6)


def test_an_update_with_surgery_that_takes_the_mean_is_the_plain_one():
  # One minibatch of trials of equal length: the mean over trials is then the mean over their steps.
  batch = trials()
  full = lambda tree: tree._replace(mask=jnp.ones_like(tree.mask))  # noqa: E731
  batch = batch._replace(support=full(batch.support), query=full(batch.query))
  settings = {"epochs": 1, "minibatches": 1}
  plain, surgery = (
    small_agent(PROBLEM, "rl2", gradient_surgery=each, ppo=settings) for each in (None, mean_gradient())
  )
  state = plain.init(KEY)
  first, _ = jax.jit(plain.update)(state, batch, KEY)
  second, metrics = jax.jit(surgery.update)(state, batch, KEY)
  assert 0 <= metrics["ppo_loss_conflict_rate"] <= 1
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), first.params, second.params)


def test_too_few_tasks_for_the_minibatches_are_refused():
  agent = small_agent(PROBLEM, "rl2", ppo={"minibatches": 4})
  with pytest.raises(ValueError, match="minibatches=4"):
    jax.eval_shape(agent.update, agent.init(KEY), trials(), KEY)


def test_acting_after_adaptation_is_acting_on():
  """The policy after two episodes that were adapted to, and after two that the agent has lived through."""
  agent = rl2(PROBLEM, cell=gru(hidden_size=4), hidden_sizes=(4,))
  params = agent.init(KEY).params
  support = jax.tree.map(lambda leaf: leaf[0], trials().support)  # [K, 1, H]
  adapted = agent.adapt(params, support, KEY)
  lived = agent.prior(params, KEY)
  steps = steps_of_support(support)
  begins = True
  for t in np.flatnonzero(steps.mask):
    action, reward = (jnp.zeros(2), jnp.zeros(())) if begins else (steps.action[t - 1], steps.reward[t - 1])
    if begins and t > 0:  # Between episodes it adapts to those so far.
      lived = agent.adapt(params, jax.tree.map(lambda leaf: leaf[:1], support), KEY)
    timestep = TimeStep(steps.observation[t], jnp.clip(action, -1, 1), reward, jnp.asarray(float(begins)))
    _, lived = agent.act(params, lived, timestep, None)
    begins = bool(steps.last[t])
  np.testing.assert_allclose(lived[MEMORY].carry, adapted[MEMORY].carry, rtol=1e-5, atol=1e-6)


def rows(seed, tasks=2, count=4):
  keys = iter(jax.random.split(jax.random.key(seed), 9))
  draw = lambda *sizes: jax.random.normal(next(keys), (tasks, count, *sizes))  # noqa: E731
  zeros = jnp.zeros((tasks, count))
  return Transition(draw(3), draw(2), draw(), draw(3), zeros, zeros, draw(), draw(3), zeros)


def test_a_recorded_trial_is_a_support_that_ends_and_then_a_query():
  batch = TaskBatch(rows(1), rows(2), jnp.arange(2))
  trial = recorded_trials(batch)
  assert trial.reward.shape == (2, 8)
  np.testing.assert_array_equal(trial.last, [[0, 0, 0, 1, 0, 0, 0, 0]] * 2)
  np.testing.assert_array_equal(steps_of_rows(trial).mask, 1)


def test_the_critic_trains_the_memory_of_recorded_data_and_targets_do_not():
  batch = TaskBatch(rows(1), rows(2), jnp.arange(2))
  settings = {"cell": gru(hidden_size=4), "actor_critic": iql(hidden_sizes=(4,), reward_scale=1.0)}
  agent = rl2_offline(PROBLEM, **settings)
  state = agent.init(KEY)
  after, _ = jax.jit(agent.update)(state, batch, KEY)
  assert moved(state.params.net, after.params.net) == {"cell", "critic", "value", "policy", "target_critic"}
  assert agent.remembers
  assert agent.consecutive_rows

  # A memory that nothing reads before the last row has no gradient but through that row: targets hold it fixed.
  still = small_agent(PROBLEM, "rl2_offline", optimizer={"encoder_learning_rate": 0.0})
  state = still.init(KEY)
  after, _ = jax.jit(still.update)(state, batch, KEY)
  assert "cell" not in moved(state.params.net, after.params.net)


def test_a_belief_before_any_step_is_about_the_prior_and_its_latent_is_mean_and_log_deviation():
  agent = varibad(
    PROBLEM,
    cell=gru(hidden_size=4),
    belief=recurrent_belief(latent_size=2, hidden_sizes=(4,), decoder_sizes=(4,)),
    hidden_sizes=(4,),
  )
  params = agent.init(KEY).params
  timestep = TimeStep(jnp.ones(3), jnp.zeros(2), jnp.zeros(()), jnp.ones(()))
  _, adapted = agent.act(params, agent.prior(params, KEY), timestep, None)
  assert adapted[LATENT].shape == (4,)
  np.testing.assert_allclose(adapted[LATENT], 0, atol=0.02)  # mean 0, log of one
