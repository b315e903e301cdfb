import jax
import jax.numpy as jnp
import numpy as np
import optax

from macaw_jax.collection.behaviour_agent import behaviour_agent, standardise_tasks
from macaw_jax.losses import soft_actor_critic as losses
from macaw_jax.networks.soft_actor_critic import squashed_gaussian_policy, twin_critic
from macaw_jax.types import TimeStep, Transition

TASKS = {"goal": np.float32([-0.5, 0.5])}


def make_agent(tasks=TASKS, **changes):
  settings = {
    "observation_size": 3,
    "action_size": 1,
    "ignored_observations": (),
    "hidden_sizes": (16, 16),
    "learning_rate": 3e-3,
    "discount": 0.9,
    "tau": 0.1,
    "reward_scale": 1.0,
  }
  return behaviour_agent(tasks, **(settings | changes))


def initial_state(agent):
  return jax.jit(agent.init)(jax.random.key(0), jax.random.normal(jax.random.key(1), (100, 3)))


def transitions(**known):
  """Transitions of which a one-step target reads all that is known."""
  return Transition(**dict.fromkeys(("last", "mc_return", "final_observation", "final_discount")), **known)


def random_batch(key, batch_size=8):
  keys = jax.random.split(key, 4)
  return transitions(
    observation=jax.random.normal(keys[0], (2, batch_size, 3)),
    action=jax.random.uniform(keys[1], (2, batch_size, 1), minval=-1.0),
    reward=jax.random.normal(keys[2], (2, batch_size)),
    next_observation=jax.random.normal(keys[3], (2, batch_size, 3)),
    terminal=jnp.zeros((2, batch_size)),
  )


def timestep(observation):
  return TimeStep(jnp.asarray(observation), jnp.zeros(1), jnp.zeros(()), jnp.ones(()))


def test_task_numbers_are_standardised_over_the_tasks():
  tasks = {"direction": np.float32([1, -1]), "goal": np.float32([[2, 7], [6, 7]])}
  np.testing.assert_allclose(standardise_tasks(tasks), [[1, -1, 0], [-1, 1, 0]])


def updated_again(params, batch, key):
  """An update of `make_agent(reward_scale=2.0)` from the networks and the array-level losses."""
  policy, critic = squashed_gaussian_policy(4, 1, (16, 16)), twin_critic(4, 1, (16, 16))

  def network_input(observation):
    standardised = (observation - params.observation_mean) / params.observation_std
    task = jnp.broadcast_to(jnp.array([[[-1.0]], [[1.0]]]), (2, 8, 1))
    return jnp.concatenate([standardised, task], axis=-1)

  def step(loss, part):
    updates, _ = optax.adam(3e-3).update(jax.grad(loss)(part), optax.adam(3e-3).init(part))
    return optax.apply_updates(part, updates)

  key_target, key_actor = jax.random.split(key)
  inputs, next_inputs = network_input(batch.observation), network_input(batch.next_observation)
  noise = jax.random.normal(key_target, (2, 8, 1))
  next_action, next_log_prob = losses.squash(*policy.apply(params.policy, next_inputs), noise)
  next_values = critic.apply(params.target_critic, next_inputs, next_action).min(axis=0)
  target = 2.0 * batch.reward + 0.9 * (next_values - next_log_prob)  # temperature one at first
  new_critic = step(
    lambda part: 0.5 * jnp.mean(jnp.sum((critic.apply(part, inputs, batch.action) - target) ** 2, 0)), params.critic
  )

  def actor_loss(part):
    action, log_prob = losses.squash(*policy.apply(part, inputs), jax.random.normal(key_actor, (2, 8, 1)))
    return jnp.mean(log_prob - critic.apply(new_critic, inputs, action).min(axis=0))

  return {
    "critic": new_critic,
    "policy": step(actor_loss, params.policy),
    "target_critic": jax.tree.map(lambda old, new: 0.9 * old + 0.1 * new, params.target_critic, new_critic),
    "observation_mean": params.observation_mean,
    "observation_std": params.observation_std,
  }


def test_an_update_moves_each_part_by_its_own_loss():
  agent = make_agent(reward_scale=2.0)
  state = initial_state(agent)
  batch, key = random_batch(jax.random.key(2)), jax.random.key(3)
  new_params = jax.jit(agent.update)(state, batch, key)[0].params
  expected = jax.jit(updated_again)(state.params, batch, key)
  for name, value in expected.items():
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-6), getattr(new_params, name), value)
  assert np.all(new_params.log_temperature != 0.0)


def test_a_tasks_temperature_depends_on_its_own_samples_alone():
  agent = make_agent()
  state = initial_state(agent)
  # Other samples for task 1, the same for task 0. Adam's first moment is the gradient, up to a factor.
  batch, other = random_batch(jax.random.key(2)), random_batch(jax.random.key(4))
  mixed = jax.tree.map(lambda a, b: jnp.stack([a[0], b[1]]), batch, other)
  update = jax.jit(agent.update)
  moments = [update(state, data, jax.random.key(3))[0].opt_state[2][0].mu for data in (batch, mixed)]
  assert moments[0][0] == moments[1][0]
  assert moments[0][1] != moments[1][1]


def test_ignored_observations_change_nothing():
  agent = make_agent(ignored_observations=(1,))
  state = initial_state(agent)
  adapted = {"task": agent.task_input[0]}
  action, _ = agent.act(state.params, adapted, timestep([0.1, 0.2, 0.3]), None)
  same, _ = agent.act(state.params, adapted, timestep([0.1, 99.0, 0.3]), None)
  other, _ = agent.act(state.params, adapted, timestep([0.1, 0.2, 0.9]), None)
  np.testing.assert_array_equal(action, same)
  assert np.any(action != other)


def test_acting_without_a_key_is_the_mode():
  agent = make_agent()
  params = initial_state(agent).params
  adapted = {"task": agent.task_input[1]}
  mode, _ = agent.act(params, adapted, timestep([0.1, 0.2, 0.3]), None)
  keys = jax.random.split(jax.random.key(2), 501)
  samples = jax.vmap(lambda key: agent.act(params, adapted, timestep([0.1, 0.2, 0.3]), key)[0])(keys)
  assert np.abs(samples).max() <= 1.0
  # tanh keeps the order, so the median of samples is near the squashed mean.
  np.testing.assert_allclose(np.median(samples, axis=0), mode, atol=0.15)
  assert samples.std() > 0.1


def test_one_agent_learns_two_tasks_with_opposite_answers():
  # One step, reward 4 - 8 (a - goal)^2: the best action is the task's goal, whatever the observation.
  agent = make_agent()
  state = agent.init(jax.random.key(0), jnp.zeros((10, 3)))

  def update(state, key):
    key_action, key_update = jax.random.split(key)
    action = jax.random.uniform(key_action, (2, 64, 1), minval=-1.0, maxval=1.0)
    zeros = jnp.zeros((2, 64, 3))
    reward = 4.0 - 8.0 * (action[..., 0] - jnp.array([[-0.5], [0.5]])) ** 2
    batch = transitions(
      observation=zeros, action=action, reward=reward, next_observation=zeros, terminal=jnp.ones((2, 64))
    )
    return agent.update(state, batch, key_update)[0], None

  state, _ = jax.jit(lambda state, key: jax.lax.scan(update, state, jax.random.split(key, 1500)))(
    state, jax.random.key(1)
  )
  for task, goal in enumerate((-0.5, 0.5)):
    action, _ = agent.act(state.params, {"task": agent.task_input[task]}, timestep(np.zeros(3, np.float32)), None)
    np.testing.assert_allclose(action, [goal], atol=0.06)
