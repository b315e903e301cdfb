import functools
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from macaw_jax.actor_critics import awac, brac, iql, sac, twin_sac
from macaw_jax.actor_critics.actor_critic import beside, split_loss_key
from macaw_jax.actor_critics.behaviour_regularised import penalise_score
from macaw_jax.learners.context import train_only
from macaw_jax.losses.soft_actor_critic import recorded_log_prob, squash
from macaw_jax.types import LATENT, Problem, TimeStep, Transition

KEY = jax.random.key(7)
PROBLEM = Problem(observation_size=3, action_size=2, num_tasks=4, discount=0.9)
LATENT_SIZE = 2
# The settings of each in these tests, and the one setting that changes an actor-critic in its parts.
VARIANTS = {
  "sac": (sac, {}),
  "iql": (iql, {"temperature": 0.5}),
  "awac": (awac, {"temperature": 0.5}),
  "brac": (brac, {"behaviour_penalty": 0.7}),
  "brac_adaptive": (brac, {"behaviour_penalty": 0.7, "divergence_target": 0.05}),
  "twin_sac": (twin_sac, {"entropy_weight": 0.3}),
  "brac_released": (
    brac,
    {
      "behaviour_penalty": 0.7,
      "divergence_target": 0.05,
      "project_penalty": False,
      "value_penalty": True,
      "discriminator_penalty": penalise_score,
    },
  ),
}


def make(variant, problem=PROBLEM, **changes):
  factory, settings = VARIANTS[variant]
  return factory(**{"hidden_sizes": (16,), "reward_scale": 5.0, **settings, **changes})(problem, LATENT_SIZE)


@functools.cache
def agent_of(variant):
  return make(variant)


@functools.cache
def drawn_parts(variant):
  agent = agent_of(variant)
  params = {part: init(jax.random.fold_in(KEY, index)) for index, (part, init) in enumerate(agent.init.items())}
  params |= {target: params[part] for target, part in agent.targets.items()}
  leaves, treedef = jax.tree.flatten(params)
  keys = jax.random.split(KEY, len(leaves))
  moved = [leaf + 0.3 * jnp.abs(jax.random.normal(k, jnp.shape(leaf))) for leaf, k in zip(leaves, keys, strict=True)]
  return jax.tree.unflatten(treedef, moved)


def parts_of(variant):
  """Parts away from their first values, target networks away from the parts that they follow, and latents."""
  return {**drawn_parts(variant), LATENT: LATENTS}


def constant(params, *outputs):
  """Parameters of a network whose outputs do not depend on its input."""
  params = jax.tree.map(jnp.zeros_like, params)
  last = max(params, key=lambda name: int(name.removeprefix("layer_")))
  bias = params[last]["bias"]
  return params | {last: params[last] | {"bias": jnp.broadcast_to(jnp.array(outputs), bias.shape[::-1]).T}}


def batch_of(num_tasks=4, rows=5, terminal=None):
  keys = iter(jax.random.split(jax.random.key(3), 4))
  draw = lambda *shape: jax.random.normal(next(keys), (num_tasks, rows, *shape))  # noqa: E731
  observation, next_observation, reward = draw(3), draw(3), draw()
  action = jnp.tanh(draw(2))
  if terminal is None:
    terminal = jnp.zeros((num_tasks, rows)).at[:, 0].set(1.0)
  zeros = jnp.zeros((num_tasks, rows))
  return Transition(observation, action, reward, next_observation, terminal, zeros, zeros, observation, zeros)


LATENTS = jax.random.normal(jax.random.key(4), (4, LATENT_SIZE))
LOSSES = [(variant, name) for variant in VARIANTS for name in agent_of(variant).losses]


def timestep(observation):
  zero = jnp.zeros(())
  return TimeStep(observation, jnp.zeros(2), zero, zero)


def is_zero(tree):
  return all(not np.any(leaf) for leaf in jax.tree.leaves(tree))


def test_latents_stand_behind_every_observation_of_their_task():
  observation = jnp.arange(12.0).reshape(2, 3, 2)
  joined = beside(observation, jnp.array([[10.0], [20.0]]))
  assert joined.shape == (2, 3, 3)
  np.testing.assert_array_equal(joined[..., :2], observation)
  np.testing.assert_array_equal(joined[..., 2], [[10.0] * 3, [20.0] * 3])
  np.testing.assert_array_equal(beside(jnp.array([1.0, 2.0]), jnp.array([3.0])), [1.0, 2.0, 3.0])


@pytest.mark.parametrize("variant", VARIANTS)
def test_tables_name_the_parts_that_there_are(variant):
  agent = agent_of(variant)
  assert agent.trains.keys() == agent.losses.keys()
  assert {part for parts in agent.trains.values() for part in parts} == agent.init.keys()
  assert set(agent.targets.values()) <= agent.init.keys()
  assert agent.project.keys() | agent.learning_rates.keys() <= agent.init.keys()


@pytest.mark.parametrize(("variant", "name"), LOSSES)
def test_each_loss_trains_the_parts_of_its_table_and_no_other(variant, name):
  agent = agent_of(variant)
  trained = agent.trains[name]
  objective = lambda params: agent.losses[name](train_only(params, trained), batch_of(), KEY)[0]  # noqa: E731
  gradients = jax.grad(objective)(parts_of(variant))
  del gradients[LATENT]  # which every loss may train; the learner's table decides
  for part, gradient in gradients.items():
    assert is_zero(gradient) == (part not in trained), part


@pytest.mark.parametrize(
  ("variant", "name", "held"),
  [
    ("sac", "critic_loss", ("target_value",)),
    ("sac", "value_loss", ("critic", "policy")),
    ("iql", "critic_loss", ("value",)),
    ("iql", "value_loss", ("target_critic",)),
    ("iql", "policy_loss", ("value", "target_critic")),
    ("awac", "critic_loss", ("target_critic", "policy")),
    ("awac", "policy_loss", ("critic",)),
    ("brac", "critic_loss", ("target_value",)),
    ("twin_sac", "critic_loss", ("target_critic", "policy")),
    ("brac_adaptive", "multiplier_loss", ("discriminator", "policy")),
    ("brac_released", "critic_loss", ("target_value", "policy", "discriminator", "multiplier")),
  ],
)
def test_targets_and_weights_are_held_fixed_whatever_the_table_says(variant, name, held):
  agent = agent_of(variant)
  gradients = jax.grad(lambda params: agent.losses[name](params, batch_of(), KEY)[0])(parts_of(variant))
  for part in held:
    assert is_zero(gradients[part]), part


@pytest.mark.parametrize("variant", VARIANTS)
def test_critics_teach_the_latent_of_every_task_and_their_target_does_not(variant):
  agent = agent_of(variant)
  params = parts_of(variant)
  gradient = jax.grad(lambda latents: agent.losses["critic_loss"](params | {LATENT: latents}, batch_of(), KEY)[0])
  assert np.any(gradient(LATENTS) != 0, axis=1).all()
  # Critics that do not read the latent; what bootstraps still does.
  first = params["critic"]["layer_0"]
  blind = first | {"kernel": first["kernel"].at[:, 3 : 3 + LATENT_SIZE].set(0.0)}
  params["critic"] = params["critic"] | {"layer_0": blind}
  assert is_zero(gradient(LATENTS))


@pytest.mark.parametrize("variant", VARIANTS)
def test_ends_of_the_task_have_their_scaled_reward_as_target(variant):
  agent = agent_of(variant)
  params = parts_of(variant)
  params["critic"] = constant(params["critic"], 2.0, 2.0)
  batch = batch_of(terminal=jnp.ones((4, 5)))
  loss, metrics = agent.losses["critic_loss"](params, batch, KEY)
  np.testing.assert_allclose(loss, 2.0 * np.mean((2.0 - 5.0 * batch.reward) ** 2), rtol=1e-5)
  np.testing.assert_allclose(metrics["mean_q"], 2.0, rtol=1e-6)


@pytest.mark.parametrize(("variant", "part"), [("sac", "target_value"), ("iql", "value"), ("brac", "target_value")])
def test_critics_bootstrap_from_the_discounted_state_value(variant, part):
  agent = agent_of(variant)
  params = parts_of(variant)
  params |= {"critic": constant(params["critic"], 2.0, 3.0), part: constant(params[part], 7.0)}
  batch = batch_of()
  target = 5.0 * batch.reward + 0.9 * (1.0 - batch.terminal) * 7.0
  expected = np.mean((2.0 - target) ** 2) + np.mean((3.0 - target) ** 2)
  np.testing.assert_allclose(agent.losses["critic_loss"](params, batch, KEY)[0], expected, rtol=1e-5)


def test_awac_bootstraps_from_the_smaller_target_critic():
  agent = agent_of("awac")
  params = parts_of("awac") | {"critic": constant(parts_of("awac")["critic"], 0.0, 0.0)}
  batch = batch_of()

  def loss(*target_values):
    target = constant(params["critic"], *target_values)
    return agent.losses["critic_loss"](params | {"target_critic": target}, batch, KEY)[0]

  target = 5.0 * batch.reward + 0.9 * (1.0 - batch.terminal) * 1.0
  np.testing.assert_allclose(loss(1.0, 2.0), 2.0 * np.mean(target**2), rtol=1e-5)
  assert loss(1.0, 2.0) == loss(1.0, 5.0) != loss(0.5, 5.0)


def test_soft_actor_critic_bootstraps_from_the_smaller_target_critic_and_the_entropy():
  agent, blind = agent_of("twin_sac"), make("twin_sac", entropy_weight=0.0)
  params, batch = parts_of("twin_sac"), batch_of(1, 1, terminal=jnp.zeros((1, 1)))
  params |= {"critic": constant(params["critic"], 0.0, 0.0), LATENT: LATENTS[:1]}
  params["target_critic"] = constant(params["critic"], 1.0, 2.0)
  loss = lambda agent, params: agent.losses["critic_loss"](params, batch, KEY)[0]  # noqa: E731
  np.testing.assert_allclose(loss(blind, params), 2.0 * (5.0 * batch.reward[0, 0] + 0.9 * 1.0) ** 2, rtol=1e-5)
  params["policy"] = constant(params["policy"], 0.4, -0.2, -1.5, -1.5)
  noise = jax.random.normal(split_loss_key(KEY).next_action, (1, 1, 2))
  _, log_prob = squash(jnp.full((1, 1, 2), jnp.array([0.4, -0.2])), jnp.full((1, 1, 2), -1.5), noise)
  y = 5.0 * batch.reward[0, 0] + 0.9 * (1.0 - 0.3 * log_prob[0, 0])
  np.testing.assert_allclose(loss(agent, params), 2.0 * y**2, rtol=1e-5)


@pytest.mark.parametrize("variant", VARIANTS)
def test_metrics_have_distinct_names_and_are_finite_on_extreme_rows(variant):
  agent = agent_of(variant)
  batch = batch_of()
  batch = batch._replace(
    observation=10.0 * jnp.sign(batch.observation),
    action=jnp.sign(batch.action),
    reward=1e3 * batch.reward,
  )
  names = []
  for name, loss in agent.losses.items():
    objective = lambda params, loss=loss: loss(params, batch, KEY)  # noqa: E731
    params = parts_of(variant) | {LATENT: 10.0 * LATENTS}
    (value, metrics), gradients = jax.value_and_grad(objective, has_aux=True)(params)
    assert np.shape(value) == ()
    np.testing.assert_array_equal(metrics[name], value)
    names += metrics
    for leaf in jax.tree.leaves((value, metrics, gradients)):
      assert np.isfinite(leaf).all(), name
  assert len(names) == len(set(names))


@pytest.mark.parametrize("variant", ["sac", "brac"])
def test_value_and_policy_speak_of_one_action_sample(variant):
  agent = make(variant, **({"behaviour_penalty": 0.0} if variant == "brac" else {}))
  params = parts_of(variant)
  params |= {"critic": constant(params["critic"], 2.0, 3.0), "value": constant(params["value"], 0.0)}
  one_row, params[LATENT] = batch_of(1, 1), LATENTS[:1]
  value_loss, _ = agent.losses["value_loss"](params, one_row, KEY)
  _, metrics = agent.losses["policy_loss"](params, one_row, KEY)
  np.testing.assert_allclose(value_loss, (2.0 + metrics["entropy"]) ** 2, rtol=1e-5)


def test_policy_loss_of_constant_critics_is_their_minimum_the_entropy_and_the_regularisation():
  agent = agent_of("sac")
  params = parts_of("sac")
  params |= {"critic": constant(params["critic"], 2.0, 3.0), "policy": constant(params["policy"], 0.4, 0.4, -1.5, -1.5)}
  loss, metrics = agent.losses["policy_loss"](params, batch_of(), KEY)
  # A mean of 0.4 and a log standard deviation of -1.5.
  np.testing.assert_allclose(loss, -metrics["entropy"] - 2.0 + 1e-3 * (0.4**2 + 1.5**2), rtol=1e-5)


def test_policy_loss_of_twin_sac_is_the_minimum_of_the_critics_and_the_weighted_entropy():
  agent, params = agent_of("twin_sac"), parts_of("twin_sac")
  params |= {"critic": constant(params["critic"], 2.0, 3.0), "policy": constant(params["policy"], 0.4, 0.4, -1.5, -1.5)}
  loss, metrics = agent.losses["policy_loss"](params, batch_of(), KEY)
  np.testing.assert_allclose(loss, -0.3 * metrics["entropy"] - 2.0, rtol=1e-5)


def test_implicit_q_learning_with_an_advantage_of_zero_regresses_values_and_clones_behaviour():
  agent = make("iql", expectile=0.5)
  params, batch = parts_of("iql"), batch_of()
  inputs = beside(batch.observation, LATENTS)
  params |= {
    "target_critic": constant(params["target_critic"], 3.0, 1.5),
    "value": constant(params["value"], 1.0),
    "policy": constant(params["policy"], 0.4, -0.2, -1.5, -1.5),
  }
  value_loss, _ = agent.losses["value_loss"](params, batch, KEY)
  np.testing.assert_allclose(value_loss, 0.5 * 0.5**2, rtol=1e-6)
  params["value"] = constant(params["value"], 1.5)
  loss, metrics = agent.losses["policy_loss"](params, batch, KEY)
  shape = (*inputs.shape[:-1], 2)
  log_prob = recorded_log_prob(jnp.broadcast_to(jnp.array([0.4, -0.2]), shape), jnp.full(shape, -1.5), batch.action)
  np.testing.assert_allclose(loss, -np.mean(log_prob), rtol=1e-5)
  np.testing.assert_allclose([metrics["largest_weight"], metrics["mean_weight"]], 1.0, rtol=1e-6)


def test_without_a_penalty_behaviour_regularisation_is_soft_actor_critic():
  agent, plain = make("brac", behaviour_penalty=0.0), agent_of("sac")
  params = parts_of("brac")
  for name, loss in plain.losses.items():
    results = [
      jax.value_and_grad(lambda policy, f=f: f(params | {"policy": policy}, batch_of(), KEY)[0])(params["policy"])
      for f in (agent.losses[name], loss)
    ]
    jax.tree.map(np.testing.assert_array_equal, *results)


def test_penalty_is_the_divergence_in_units_of_the_values():
  agent, free = agent_of("brac"), make("brac", behaviour_penalty=0.0)
  params = parts_of("brac")
  params["critic"] = constant(params["critic"], -3.0, 2.0)
  loss, metrics = agent.losses["policy_loss"](params, batch_of(), KEY)
  np.testing.assert_allclose(metrics["penalty_factor"], 0.7 * 3.0, rtol=1e-6)
  without, _ = free.losses["policy_loss"](params, batch_of(), KEY)
  np.testing.assert_allclose(loss - without, 2.1 * metrics["divergence"], rtol=1e-4)


def test_discriminator_climbs_the_divergence_less_its_slope_in_the_action():
  agent = agent_of("brac")
  params = parts_of("brac")
  flat = constant(params["discriminator"], 0.0)
  loss, _ = agent.losses["discriminator_loss"](params | {"discriminator": flat}, batch_of(), KEY)
  np.testing.assert_allclose(loss, 0.059660, atol=1e-6)
  # One hidden unit far from its kink: g = 3 a_1 everywhere, and the penalty is 5 (3 - 1)^2.
  first, last = flat["layer_0"], flat["layer_1"]
  steep = {
    "layer_0": {"kernel": first["kernel"].at[3 + LATENT_SIZE, 0].set(3.0), "bias": first["bias"].at[0].set(10.0)},
    "layer_1": {"kernel": last["kernel"].at[0].set(1.0), "bias": jnp.array([-10.0])},
  }
  params["discriminator"] = steep
  loss, metrics = agent.losses["discriminator_loss"](params, batch_of(), KEY)
  np.testing.assert_allclose(metrics["gradient_penalty"], 20.0, rtol=1e-5)
  _, policy_metrics = agent.losses["policy_loss"](params, batch_of(), KEY)
  np.testing.assert_allclose(loss, 20.0 - policy_metrics["divergence"], rtol=1e-5)


def test_adaptive_penalty_climbs_by_the_excess_and_stays_in_its_range():
  agent = make("brac_adaptive", behaviour_penalty=500.0, penalty_rate=0.5)
  params = parts_of("brac_adaptive")
  params["multiplier"] = agent.init["multiplier"](KEY)
  _, metrics = agent.losses["policy_loss"](params, batch_of(), KEY)
  assert metrics["penalty_factor"] == 500.0
  loss = lambda multiplier: agent.losses["multiplier_loss"](  # noqa: E731
    params | {"multiplier": multiplier}, batch_of(), KEY
  )[0]
  optimizer = optax.sgd(agent.learning_rates["multiplier"])
  step, _ = optimizer.update(jax.grad(loss)(params["multiplier"]), optimizer.init(params["multiplier"]))
  np.testing.assert_allclose(step, 0.5 * (metrics["divergence"] - 0.05), rtol=1e-5)
  project = agent.project["multiplier"]
  np.testing.assert_array_equal([project(x) for x in jnp.array([-1.0, 500.25, 3000.0])], [0.0, 500.25, 2000.0])


@pytest.mark.parametrize(("variant", "alpha"), [("brac_released", 1.5), ("brac", 0.7 * 2.0)])
def test_a_value_penalty_lowers_the_bellman_target_by_the_divergence_of_its_own_row(variant, alpha):
  agent = make(variant, value_penalty=True)
  params, batch = parts_of(variant), batch_of()
  flat = constant(params["discriminator"], 0.0)
  first, last = flat["layer_0"], flat["layer_1"]
  # One hidden unit far from its kink: g is the first coordinate of the observation, whatever the action.
  params["discriminator"] = {
    "layer_0": {"kernel": first["kernel"].at[0, 0].set(1.0), "bias": first["bias"].at[0].set(10.0)},
    "layer_1": {"kernel": last["kernel"].at[0].set(1.0), "bias": jnp.array([-10.0])},
  }
  params |= {"critic": constant(params["critic"], 2.0, 3.0), "target_value": constant(params["target_value"], 7.0)}
  if variant == "brac_released":
    params["multiplier"] = jnp.array(1.5)
  ratio = np.log1p(np.exp(batch.observation[..., 0]))  # softplus(g)
  target = 5.0 * batch.reward + 0.9 * (1.0 - batch.terminal) * (7.0 - alpha * (np.log(ratio) - ratio + 1.0))
  expected = np.mean((2.0 - target) ** 2) + np.mean((3.0 - target) ** 2)
  np.testing.assert_allclose(agent.losses["critic_loss"](params, batch, KEY)[0], expected, rtol=1e-5)


def test_a_penalty_that_is_not_projected_is_cut_where_losses_read_it_alone():
  agent, params = make("brac_released", behaviour_penalty=3000.0), parts_of("brac_released")
  assert agent.project == {}
  assert agent.init["multiplier"](KEY) == 3000.0
  read = lambda alpha: agent.losses["policy_loss"](params | {"multiplier": alpha}, batch_of(), KEY)[1]  # noqa: E731
  assert [read(alpha)["penalty_factor"] for alpha in (-1.0, 500.25, 3000.0)] == [0.0, 500.25, 2000.0]
  # The variable itself goes on from where it is.
  loss = lambda alpha: agent.losses["multiplier_loss"](params | {"multiplier": alpha}, batch_of(), KEY)[0]  # noqa: E731
  excess = read(500.25)["divergence"] - 0.05
  for alpha in (-1.0, 3000.0):
    np.testing.assert_allclose(jax.value_and_grad(loss)(alpha), (-alpha * excess, -excess), rtol=1e-5)


def test_a_penalty_of_scores_replaces_that_of_their_slope():
  agent, params = agent_of("brac_released"), parts_of("brac_released")
  params["discriminator"] = constant(params["discriminator"], 3.0)
  loss, metrics = agent.losses["discriminator_loss"](params, batch_of(), KEY)
  np.testing.assert_allclose(metrics["gradient_penalty"], 20.0, rtol=1e-6)
  ratio = np.log1p(np.exp(3.0))
  np.testing.assert_allclose(loss, 20.0 - (np.log(ratio) - ratio + 1.0), rtol=1e-6)


@pytest.mark.parametrize("variant", VARIANTS)
def test_policies_act_within_bounds_by_the_latent(variant):
  agent = agent_of(variant)
  params = parts_of(variant)
  observation = jnp.array([0.3, -1.0, 2.0])
  act = lambda index, key: agent.act(params | {LATENT: LATENTS[index]}, timestep(observation), key)  # noqa: E731
  mode = act(0, None)
  assert mode.shape == (2,)
  np.testing.assert_array_equal(mode, act(0, None))
  assert not np.allclose(mode, act(1, None))
  samples = jax.vmap(lambda key: act(0, key))(jax.random.split(KEY, 2000))
  assert jnp.max(jnp.abs(samples)) <= 1.0
  # tanh keeps order, so that the median of samples is the mode.
  np.testing.assert_allclose(np.median(samples, axis=0), mode, atol=0.05)


@pytest.mark.parametrize("variant", VARIANTS)
def test_numbers_may_be_traced(variant):
  factory, settings = VARIANTS[variant]
  values = {name: p.default for name, p in inspect.signature(factory).parameters.items()} | settings
  numbers = {name: value for name, value in values.items() if isinstance(value, float)}

  params = parts_of(variant)

  def losses_of(numbers):
    agent = make(variant, **numbers)
    return {name: loss(params, batch_of(), KEY)[0] for name, loss in agent.losses.items()}

  expected, traced = losses_of(numbers), jax.jit(losses_of)(numbers)
  for name, value in expected.items():
    np.testing.assert_allclose(traced[name], value, rtol=1e-4, err_msg=name)


@pytest.mark.parametrize(
  ("variant", "name", "value"),
  [
    ("sac", "reward_scale", 0.0),
    ("iql", "reward_scale", -1.0),
    ("iql", "expectile", 1.0),
    ("iql", "expectile", 0.0),
    ("iql", "temperature", 0.0),
    ("iql", "max_weight", 0.5),
    ("awac", "reward_scale", 0.0),
    ("awac", "temperature", -0.1),
    ("twin_sac", "reward_scale", 0.0),
    ("twin_sac", "entropy_weight", -0.1),
    ("brac", "reward_scale", 0.0),
    ("brac", "behaviour_penalty", -0.1),
    ("brac_adaptive", "divergence_target", -0.1),
    ("brac_adaptive", "penalty_rate", -1.0),
    ("brac_adaptive", "max_penalty", 0.5),
  ],
)
def test_arguments_outside_their_range_are_refused(variant, name, value):
  with pytest.raises(ValueError, match=f"{name}={value}"):
    make(variant, **{name: value})


LEARNING = {
  "sac": {"reward_scale": 50.0},
  "iql": {"reward_scale": 10.0, "temperature": 0.1},
  "awac": {"reward_scale": 10.0, "temperature": 0.05},
  "brac": {"reward_scale": 50.0, "behaviour_penalty": 0.1},
  "brac_adaptive": {"reward_scale": 50.0, "behaviour_penalty": 1.0, "divergence_target": 1.0},
  "twin_sac": {"reward_scale": 50.0, "entropy_weight": 1.0},
  "brac_released": {"reward_scale": 50.0, "behaviour_penalty": 1.0, "divergence_target": 1.0},
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_best_action_of_each_task_is_learned_from_uniform_behaviour(variant):
  """A bandit with one state and two tasks, reward -(a - best)^2, that the latent tells apart."""
  best, rows = jnp.array([0.5, -0.5]), 128
  action = jnp.broadcast_to(jnp.linspace(-1.0, 1.0, rows), (2, rows))
  state, ones = jnp.zeros((2, rows, 1)), jnp.ones((2, rows))
  reward = -((action - best[:, None]) ** 2)
  data = Transition(state, action[..., None], reward, state, ones, ones, reward, state, 0.0 * ones)
  latents = jnp.array([[1.0, 0.0], [0.0, 1.0]])

  agent = make(variant, Problem(1, 1, 2, 0.9), **{**LEARNING[variant], "hidden_sizes": (32, 32)})
  trained = {part: init(jax.random.fold_in(KEY, index)) for index, (part, init) in enumerate(agent.init.items())}
  target = {name: trained[part] for name, part in agent.targets.items()}
  rates = {part: optax.sgd(agent.learning_rates[part]) for part in agent.learning_rates}
  optimizer = optax.partition({part: optax.adam(3e-3) for part in trained} | rates, {part: part for part in trained})

  def objective(trained, target, key):
    params = trained | target | {LATENT: latents}
    losses = {name: loss(train_only(params, agent.trains[name]), data, key)[0] for name, loss in agent.losses.items()}
    return sum(losses.values())

  def step(carry, key):
    trained, target, opt_state = carry
    updates, opt_state = optimizer.update(jax.grad(objective)(trained, target, key), opt_state)
    trained = optax.apply_updates(trained, updates)
    trained |= {part: project(trained[part]) for part, project in agent.project.items()}
    target = {name: optax.incremental_update(trained[part], target[name], 0.05) for name, part in agent.targets.items()}
    return (trained, target, opt_state), None

  modes = lambda params: jax.vmap(lambda z: agent.act(params | {LATENT: z}, timestep(jnp.zeros(1)), None)[0])(latents)  # noqa: E731
  assert jnp.max(jnp.abs(modes(trained) - best)) > 0.3
  carry = (trained, target, optimizer.init(trained))
  (trained, target, _), _ = jax.jit(lambda carry: jax.lax.scan(step, carry, jax.random.split(KEY, 500)))(carry)
  np.testing.assert_allclose(modes(trained), best, atol=0.15)
