"""SAC with a temperature of each task: targets by hand, plain SAC with one task, and whose rows a temperature reads."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from macaw_jax.actor_critics import tempered_sac, twin_sac
from macaw_jax.actor_critics.actor_critic import LatentPolicy, beside, latent_policy, split_loss_key
from macaw_jax.networks.latent import STANDARD_NETWORKS
from macaw_jax.types import LATENT, TASK_INDEX, Problem, Transition

KEY = jax.random.key(3)
PROBLEM = Problem(observation_size=3, action_size=2, num_tasks=4, discount=0.9)
SIZES, TASKS, ROWS, KAPPA = (6,), 2, 5, 5.0


def agent_of(factory=tempered_sac, problem=PROBLEM, **settings):
  return factory(hidden_sizes=SIZES, reward_scale=KAPPA, **settings)(problem, 1)


def params_of(agent, index, tasks=TASKS):
  parts = {name: init(jax.random.fold_in(KEY, place)) for place, (name, init) in enumerate(sorted(agent.init.items()))}
  parts = jax.tree.map(lambda leaf: leaf + 0.1, {name: parts[name] for name in ("critic", "policy")}) | {
    name: parts[name] for name in parts.keys() - {"critic", "policy"}
  }
  latents = jax.random.normal(KEY, (tasks, 1))
  return parts | {"target_critic": parts["critic"], LATENT: latents, TASK_INDEX: jnp.asarray(index)}


def rows(seed=0, tasks=TASKS):
  keys = iter(jax.random.split(jax.random.key(seed), 4))
  draw = lambda *sizes: jax.random.normal(next(keys), (tasks, ROWS, *sizes))  # noqa: E731
  zeros = jnp.zeros((tasks, ROWS))
  observation, after = draw(3), draw(3)
  terminal = zeros.at[:, 1].set(1.0)
  return Transition(observation, jnp.tanh(draw(2)), draw(), after, terminal, zeros, zeros, after, zeros)


def policy_of() -> LatentPolicy:
  return latent_policy(PROBLEM, 1, SIZES, STANDARD_NETWORKS)


def critic_of():
  return STANDARD_NETWORKS.critic(4, 2, SIZES)


def test_targets_have_the_temperature_of_their_row_s_task():
  agent, batch = agent_of(), rows()
  params = params_of(agent, [3, 1])
  params["log_temperature"] = jnp.log(jnp.array([9.0, 0.5, 9.0, 2.0]))
  loss, _ = jax.jit(agent.losses["critic_loss"])(params, batch, KEY)

  sample = policy_of().sample(
    params["policy"], inputs := beside(batch.next_observation, params[LATENT]), split_loss_key(KEY).next_action
  )
  after = np.min(critic_of().apply(params["critic"], inputs, sample.action), axis=0)
  alpha = np.array([[2.0], [0.5]])
  soft = after - alpha * np.asarray(sample.log_prob)
  target = KAPPA * np.asarray(batch.reward) + 0.9 * (1 - np.asarray(batch.terminal)) * soft
  values = critic_of().apply(params["critic"], beside(batch.observation, params[LATENT]), batch.action)
  np.testing.assert_allclose(loss, np.sum(np.mean((values - target) ** 2, axis=(1, 2))), rtol=1e-5)


def test_policy_and_temperature_losses_by_hand():
  agent, batch = agent_of(), rows()
  params = params_of(agent, [3, 1])
  params["log_temperature"] = jnp.log(jnp.array([9.0, 0.5, 9.0, 2.0]))
  inputs = beside(batch.observation, params[LATENT])
  sample = policy_of().sample(params["policy"], inputs, split_loss_key(KEY).action)
  values = np.min(critic_of().apply(params["critic"], inputs, sample.action), axis=0)
  log_prob, alpha = np.asarray(sample.log_prob), np.array([[2.0], [0.5]])
  loss, metrics = agent.losses["policy_loss"](params, batch, KEY)
  np.testing.assert_allclose(loss, np.mean(alpha * log_prob - values), rtol=1e-5)
  np.testing.assert_allclose(metrics["entropy"], -np.mean(log_prob), rtol=1e-5)
  loss, metrics = agent.losses["temperature_loss"](params, batch, KEY)
  np.testing.assert_allclose(loss, np.mean(-np.log(alpha) * (log_prob - 2.0)), rtol=1e-5)
  np.testing.assert_allclose(metrics["temperature"], 1.25, rtol=1e-6)


def test_a_temperature_learns_from_the_samples_of_its_task_alone():
  agent, batch = agent_of(), rows()
  params = params_of(agent, [3, 1])

  @jax.jit
  def gradient(batch):
    def loss(logs):
      return agent.losses["temperature_loss"](params | {"log_temperature": logs}, batch, KEY)[0]

    return jax.grad(loss)(params["log_temperature"])

  first, other = np.asarray(gradient(batch)), rows(1)
  np.testing.assert_array_equal(first[[0, 2]], 0.0)
  changed = jax.tree.map(lambda a, b: a.at[0].set(b[0]), batch, other)  # the rows of task 3
  second = np.asarray(gradient(changed))
  assert second[3] != first[3]
  assert second[1] == first[1] != 0


def test_losses_train_the_parts_of_the_table_and_hold_temperatures_elsewhere():
  agent, batch = agent_of(), rows()
  params = params_of(agent, [3, 1])
  for name in ("critic_loss", "policy_loss"):
    found = jax.grad(lambda logs, name=name: agent.losses[name](params | {"log_temperature": logs}, batch, KEY)[0])(
      params["log_temperature"]
    )
    np.testing.assert_array_equal(found, 0.0)
  of_policy = jax.grad(lambda policy: agent.losses["temperature_loss"](params | {"policy": policy}, batch, KEY)[0])(
    params["policy"]
  )
  jax.tree.map(lambda leaf: np.testing.assert_array_equal(leaf, 0.0), of_policy)


def test_with_one_task_it_is_plain_sac_bit_for_bit():
  problem, batch = PROBLEM._replace(num_tasks=1), rows(tasks=1)
  tempered = agent_of(problem=problem, initial_temperature=1.0)
  plain = agent_of(twin_sac, problem=problem, entropy_weight=1.0)
  params = params_of(tempered, [0], tasks=1)
  for name, trained in plain.trains.items():
    parts = {part: params[part] for part in trained}
    found = [
      jax.jit(jax.value_and_grad(lambda parts, each=each, name=name: each.losses[name](params | parts, batch, KEY)[0]))(
        parts
      )
      for each in (tempered, plain)
    ]
    jax.tree.map(np.testing.assert_array_equal, *found)


def test_a_temperature_that_is_not_positive_is_refused():
  with pytest.raises(ValueError, match=r"initial_temperature=0\.0 must be positive"):
    tempered_sac(initial_temperature=0.0)
