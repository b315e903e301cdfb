"""Context-based agents: what trains what, what follows, and what each encoder keeps."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from small_agents import small_agent
from small_context_batches import KEY, PROBLEM, TASKS, one, tasks

from macaw_jax.actor_critics import iql
from macaw_jax.adaptation import chain, gradient_step
from macaw_jax.algorithms import context_optimizers, focal, metric_encoder
from macaw_jax.algorithms.contextual import KNOWN_LATENTS, SCALE, Reading, all_of
from macaw_jax.algorithms.corro import LATENT_SCALE, RELEASED, noisy_rewards
from macaw_jax.learners.context import total_loss, train_only
from macaw_jax.networks.running_scale import initial_scale, standardise
from macaw_jax.objectives import add, scale
from macaw_jax.types import LATENT

AGENT = {"critic_loss": {"critic"}, "value_loss": {"value"}, "policy_loss": {"policy"}}  # of 'sac' and 'iql'
# What each paper holds fixed, written down a second time: algorithm, settings, loss and the parts it trains.
ROUTES = {
  "pearl": ("pearl", {}, AGENT | {"critic_loss": {"critic", "encoder"}, "kl_loss": {"encoder"}}),
  "pearl_offline": ("pearl_offline", {}, AGENT | {"critic_loss": {"critic", "encoder"}, "kl_loss": {"encoder"}}),
  "focal": ("focal", {}, AGENT | {"metric_loss": {"encoder"}}),
  "focal, brac": (
    "focal",
    {"actor_critic": {"name": "brac", "divergence_target": 0.05}},
    AGENT | {"metric_loss": {"encoder"}, "discriminator_loss": {"discriminator"}, "multiplier_loss": {"multiplier"}},
  ),
  "unicorn": (
    "unicorn",
    {"triplet_weight": 1.0},
    AGENT
    | {
      "metric_loss": {"encoder"},
      "reconstruction_loss": {"encoder", "decoder"},
      "triplet_loss": {"encoder"},
    },
  ),
  "unicorn, without relabelled contexts": (
    "unicorn",
    {},
    AGENT | {"metric_loss": {"encoder"}, "reconstruction_loss": {"encoder", "decoder"}},
  ),
  "unicorn, released": (
    "unicorn_released",
    {"steps": (), "triplet_weight": 1.0},
    AGENT
    | {
      "discriminator_loss": {"discriminator"},
      "multiplier_loss": {"multiplier"},
      "metric_loss": {"encoder"},
      "reconstruction_loss": {"encoder", "decoder"},
      "triplet_loss": {"encoder"},
    },
  ),
  "csro": (
    "csro",
    {},
    AGENT
    | {
      "metric_loss": {"encoder"},
      "information_loss": {"encoder"},
      "behaviour_model_loss": {"behaviour_model"},
    },
  ),
  "bati": ("bati", {}, AGENT | {"outcome_loss": {"table", "outcome_model"}, "kl_loss": {"table"}}),
  "corro": (
    "corro",
    {"encoder": {"queries_per_task": 4}},
    AGENT | {"critic_loss": {"critic", "aggregator"}, "contrastive_loss": {"encoder"}},
  ),
  "corro, generator": (
    "corro",
    {"encoder": {"queries_per_task": 4, "negatives": "generator"}},
    AGENT
    | {
      "critic_loss": {"critic", "aggregator"},
      "contrastive_loss": {"encoder"},
      "generator_loss": {"generator"},
    },
  ),
}


def largest(tree):
  return max((float(jnp.max(jnp.abs(leaf))) for leaf in jax.tree.leaves(tree)), default=0.0)


def read(learner, net, context):
  """The latents of contexts."""
  return learner.encoder.apply(net, {}, context, KEY)[0][LATENT]


def moved(algorithm):
  """A net after two updates: nothing in it is zero by initialisation."""
  state = algorithm.init(KEY)
  update = jax.jit(algorithm.update)
  for seed in (2, 3):
    state, _ = update(state, tasks(seed), jax.random.key(seed))
  return state.params.net


@pytest.mark.parametrize("name", ROUTES)
def test_each_loss_trains_what_its_paper_says_and_nothing_else(learner_of, name):
  factory, settings, routes = ROUTES[name]
  learner, algorithm = learner_of(factory, **settings)
  net = moved(algorithm)
  assert learner.losses.keys() == routes.keys()

  def restricted(net, loss):
    return learner.losses[loss](train_only(net, learner.trains[loss]), tasks(), KEY)[0]

  @jax.jit
  def gradients_of(net):
    total = jax.grad(lambda net: total_loss(learner)(net, tasks(), KEY)[0])(net)
    return {loss: jax.grad(restricted)(net, loss) for loss in routes}, total

  gradients, total = gradients_of(net)
  for loss, trained in routes.items():
    for part in net:
      assert (largest(gradients[loss][part]) > 0) == (part in trained), (loss, part)

  # And their sum trains with the sum of these gradients: nothing else reaches a part.
  expected = jax.tree.map(lambda *leaves: sum(leaves), *gradients.values())
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5), total, expected)


@pytest.mark.parametrize("name", ["focal", "unicorn", "csro"])
def test_an_encoder_without_weight_on_its_losses_stays_bit_for_bit(name):
  weights = {"unicorn": {"reconstruction_weight": 0.0}, "csro": {"information_weight": 0.0}}.get(name, {})
  algorithm = small_agent(PROBLEM, name, encoder={"metric_weight": 0.0}, **weights)
  state = algorithm.init(KEY)
  after, _ = algorithm.update(state, tasks(), KEY)
  jax.tree.map(np.testing.assert_array_equal, after.params.net["encoder"], state.params.net["encoder"])
  assert largest(jax.tree.map(jnp.subtract, after.params.net["critic"], state.params.net["critic"])) > 0


def test_target_networks_start_equal_and_follow_by_tau():
  algorithm = small_agent(PROBLEM, "pearl", actor_critic={"tau": 0.25})
  state = algorithm.init(KEY)
  jax.tree.map(np.testing.assert_array_equal, state.params.net["target_value"], state.params.net["value"])
  after, _ = algorithm.update(state, tasks(), KEY)
  before, net = state.params.net, after.params.net
  jax.tree.map(
    lambda old, new, target: np.testing.assert_allclose(target, 0.75 * old + 0.25 * new, rtol=1e-6, atol=1e-7),
    before["target_value"],
    net["value"],
    net["target_value"],
  )


@pytest.mark.parametrize(
  ("name", "settings", "moving"),
  [
    ("focal", {}, "policy"),
    ("pearl_offline", {}, "critic"),
    ("corro", {"encoder": {"queries_per_task": 4, "negatives": "generator"}}, "aggregator"),
  ],
)
def test_an_encoder_stands_still_after_its_steps_and_the_agent_does_not(name, settings, moving):
  algorithm = small_agent(PROBLEM, name, **settings, optimizer={"encoder_steps": 2})
  state, nets = algorithm.init(KEY), []
  for seed in range(4):
    state, _ = algorithm.update(state, tasks(seed), jax.random.key(seed))
    nets.append(state.params.net)
  assert largest(jax.tree.map(jnp.subtract, nets[1]["encoder"], nets[0]["encoder"])) > 0
  jax.tree.map(np.testing.assert_array_equal, nets[3]["encoder"], nets[1]["encoder"])
  assert largest(jax.tree.map(jnp.subtract, nets[3][moving], nets[2][moving])) > 0
  if "generator" in nets[3]:
    jax.tree.map(np.testing.assert_array_equal, nets[3]["generator"], nets[1]["generator"])


@pytest.mark.parametrize(
  ("negatives", "stages"), [("reward_noise", ("encoder",)), ("generator", ("generator", "encoder"))]
)
def test_with_stages_the_parts_of_corro_learn_one_after_the_other_and_the_agent_after_them(negatives, stages):
  settings = {"encoder": {"queries_per_task": 4, "negatives": negatives}, "actor_critic": {"name": "twin_sac"}}
  algorithm = small_agent(PROBLEM, "corro", **settings, stages=(2,) * len(stages), make_optimizer=optax.adam)
  state, update = algorithm.init(KEY), jax.jit(algorithm.update)
  agent = {"aggregator", "critic", "policy"}
  for number in range(2 * len(stages) + 2):
    before = state.params.net
    state, _ = update(state, tasks(number), jax.random.key(number))
    moved = {
      part for part in (*stages, *agent) if largest(jax.tree.map(jnp.subtract, state.params.net[part], before[part]))
    }
    assert moved == ({stages[number // 2]} if number < 2 * len(stages) else agent), number


@pytest.mark.parametrize("lengths", [(3,), (3, 4, 5), (3, 0)])
def test_stages_that_are_not_those_of_the_encoder_are_refused(lengths):
  with pytest.raises(
    ValueError, match=r"stages=\(3.*\) must be a positive number of updates for each of generator, enc"
  ):
    small_agent(PROBLEM, "corro", encoder={"negatives": "generator"}, stages=lengths)


def test_a_part_may_have_a_learning_rate_of_its_own():
  def steps(**settings):
    optimizer = context_optimizers(agent_learning_rate=0.1, encoder_learning_rate=0.2, optimizer=optax.sgd, **settings)
    algorithm = focal(PROBLEM, encoder=metric_encoder(hidden_sizes=(6,)), optimizer=optimizer)
    state = algorithm.init(KEY)
    after, _ = algorithm.update(state, tasks(), KEY)
    return jax.tree.map(jnp.subtract, after.params.net, state.params.net)

  common, own = steps(), steps(learning_rates={"value": 0.3, "encoder": 0.1})
  for part, factor in (("value", 3.0), ("encoder", 0.5), ("critic", 1.0), ("policy", 1.0)):
    jax.tree.map(
      lambda found, usual, factor=factor: np.testing.assert_allclose(found, factor * usual, rtol=1e-3, atol=1e-6),
      own[part],
      common[part],
    )


def test_a_learning_rate_of_no_part_or_below_zero_is_refused():
  with pytest.raises(ValueError, match=r"learning_rates: no part is called \['discriminator'\]; expected some of"):
    focal(PROBLEM, optimizer=context_optimizers(learning_rates={"discriminator": 1e-4}))
  with pytest.raises(ValueError, match=r"learning_rates\['value'\]=-1.0 must not be negative"):
    context_optimizers(learning_rates={"value": -1.0})


@pytest.mark.parametrize("name", ROUTES)
def test_the_latent_does_not_depend_on_the_order_of_the_context(name):
  factory, settings, _ = ROUTES[name]
  algorithm = small_agent(PROBLEM, factory, **settings)
  state = algorithm.init(KEY)
  state, _ = algorithm.update(state, tasks(), KEY)
  support = one(tasks(5).support)
  shuffled = jax.tree.map(lambda leaf: leaf[::-1], support)
  np.testing.assert_allclose(
    algorithm.adapt(state.params, support, KEY)[LATENT],
    algorithm.adapt(state.params, shuffled, KEY)[LATENT],
    atol=1e-3 if factory == "corro" else 1e-6,  # standardised by the small spread of three tasks: rounding grows
  )


def test_the_prior_of_pearl_is_a_standard_normal():
  algorithm = small_agent(PROBLEM, "pearl")
  params = algorithm.init(KEY).params
  draws = jax.vmap(lambda key: algorithm.prior(params, key)[LATENT])(jax.random.split(KEY, 4000))
  np.testing.assert_allclose(draws.mean(axis=0), 0.0, atol=0.08)
  np.testing.assert_allclose(draws.std(axis=0), 1.0, atol=0.05)


@pytest.mark.parametrize("name", ["focal", "unicorn", "csro", "corro"])
def test_the_prior_of_deterministic_encoders_is_the_latent_of_a_known_task(name):
  factory, settings, _ = ROUTES[name]
  algorithm = small_agent(PROBLEM, factory, **settings)
  state = algorithm.init(KEY)
  state, _ = algorithm.update(state, tasks(), KEY)
  known = state.params.net[KNOWN_LATENTS]
  np.testing.assert_array_equal(known[1], 0.0)  # never in a batch
  assert np.all(np.any(np.asarray(known)[[3, 0, 2]] != 0, axis=-1))
  draws = jax.vmap(lambda key: algorithm.prior(state.params, key)[LATENT])(jax.random.split(KEY, 200))
  found = {tuple(np.asarray(draw)) for draw in draws}
  assert found == {tuple(np.asarray(row)) for row in known}


def test_one_belief_of_many_transitions_is_sharper_than_of_few():
  algorithm = small_agent(PROBLEM, "pearl")
  params = algorithm.init(KEY).params
  support = one(tasks().support)
  spread = lambda support: jax.vmap(lambda key: algorithm.adapt(params, support, key)[LATENT])(  # noqa: E731
    jax.random.split(KEY, 500)
  ).std(axis=0)
  few = jax.tree.map(lambda leaf: leaf[:2], support)
  np.testing.assert_allclose(spread(few) / spread(support), 2.0, rtol=0.15)  # sqrt(8 / 2), factors near softplus(0)


def test_what_is_read_is_standardised_by_its_running_scale():
  read = Reading(PROBLEM, next_observation=True)
  batch = tasks()
  tiny = batch._replace(support=batch.support._replace(reward=1e-3 * batch.support.reward + 5.0))
  net = {part: init(KEY) for part, init in read.init.items()}
  net = {part: follow(net, tiny, KEY) for part, follow in read.follows.items()}
  assert net.keys() == {SCALE}
  rows = read.rows(net, tiny.support)
  behaviour, outcome = read.split(rows)
  assert (behaviour.shape[-1], outcome.shape[-1]) == (5, 4)
  np.testing.assert_allclose(outcome[..., 0].mean(), 0.0, atol=0.05)
  assert 0.15 < outcome[..., 0].std() < 1.5  # a thousandth before, under a mean of five
  blind = Reading(PROBLEM, next_observation=False)
  changed = tiny.support._replace(next_observation=tiny.support.next_observation + 1.0)
  net = {part: init(KEY) for part, init in blind.init.items()}
  np.testing.assert_array_equal(blind.rows(net, tiny.support), blind.rows(net, changed))


def test_raw_inputs_are_read_as_they_are_and_decoders_predict_the_change():
  read = Reading(PROBLEM, next_observation=True, inputs="raw", terminal=True)
  assert (read.init, read.follows) == ({}, {})
  rows = tasks().support._replace(terminal=jnp.ones_like(tasks().support.terminal))
  of_reward, of_terminal = rows.reward[..., None], rows.terminal[..., None]
  behaviour = jnp.concatenate([rows.observation, rows.action], axis=-1)
  features = jnp.concatenate([behaviour, of_reward, rows.next_observation, of_terminal], axis=-1)
  assert features.shape[-1] == read.size
  np.testing.assert_array_equal(read.rows({}, rows), features)
  given, outcome = read.prediction({}, rows)
  np.testing.assert_array_equal(given, behaviour)
  expected = jnp.concatenate([of_reward, rows.next_observation - rows.observation], axis=-1)
  np.testing.assert_array_equal(outcome, expected)
  assert outcome.shape[-1] == read.outcome_size


def test_noise_changes_rewards_alone_and_has_its_standard_deviation():
  outcome = jnp.arange(12.0).reshape(3, 4)
  noisy = noisy_rewards(outcome, KEY, 4000, 0.5)
  assert noisy.shape == (3, 4000, 4)
  np.testing.assert_array_equal(noisy[..., 1:], jnp.broadcast_to(outcome[:, None, 1:], (3, 4000, 3)))
  added = noisy[..., 0] - outcome[:, None, 0]
  np.testing.assert_allclose(added.mean(), 0.0, atol=0.02)
  np.testing.assert_allclose(added.std(), 0.5, atol=0.02)


def test_latents_of_focal_lie_in_the_open_cube(learner_of):
  learner, algorithm = learner_of("focal")
  assert np.all(np.abs(read(learner, moved(algorithm), tasks().support)) < 1)


def test_corro_aggregates_a_context_in_the_unit_ball_and_standardises_that(learner_of):
  learner, algorithm = learner_of("corro", encoder={"queries_per_task": 4})
  net = moved(algorithm)
  unscaled = net | {LATENT_SCALE: initial_scale(5)}
  support = tasks().support
  single = jax.tree.map(lambda leaf: leaf[:, :1], support)
  assert np.all(np.linalg.norm(read(learner, unscaled, support), axis=-1) < 1)
  np.testing.assert_allclose(np.linalg.norm(read(learner, unscaled, single), axis=-1), 1.0, rtol=1e-5)
  for context in (support, single):
    aggregated = read(learner, unscaled, context)
    np.testing.assert_array_equal(read(learner, net, context), standardise(net[LATENT_SCALE], aggregated))


def test_raw_latents_of_corro_are_the_pool_of_the_context_and_have_no_scale(learner_of):
  of_scale, algorithm = learner_of("corro", encoder={"queries_per_task": 4})
  net = moved(algorithm)
  raw, _ = learner_of("corro", encoder={"queries_per_task": 4, "latents": "raw"})
  assert of_scale.init.keys() - raw.init.keys() == of_scale.follows.keys() - raw.follows.keys() == {LATENT_SCALE}
  pooled = read(raw, net, tasks().support)
  np.testing.assert_array_equal(pooled, read(of_scale, net | {LATENT_SCALE: initial_scale(5)}, tasks().support))


def test_the_score_of_released_corro_begins_uniformly_by_the_size_of_the_latent():
  encoder = RELEASED["encoder"]
  init = encoder.changed(latent_size=400)(PROBLEM).init["aggregator"]
  weights = init(KEY)["weights"]
  assert weights.shape == (400,)
  assert 0.9 / 20 < largest(weights) <= 1 / 20
  np.testing.assert_allclose(jnp.std(weights), 1 / 20 / 3**0.5, rtol=0.1)


@pytest.mark.parametrize("name", [name for name in ROUTES if name not in ("pearl", "focal")])
def test_no_key_of_an_update_serves_two_purposes(name, learner_of, monkeypatch):
  factory, settings, _ = ROUTES[name]
  purposes = {}

  def recorded(draw):
    def record(key, *what, **named):
      if not isinstance(key, jax.core.Tracer):  # as where a network only asks for the shapes of its parameters
        purposes.setdefault(tuple(jax.random.key_data(key).tolist()), set()).add((draw.__name__, what, *named.items()))
      return draw(key, *what, **named)

    return record

  learner, algorithm = learner_of(factory, **{**settings, "actor_critic": {"name": "brac"}})  # whose losses draw most
  net = algorithm.init(KEY).params.net
  for draw in (jax.random.split, jax.random.normal, jax.random.uniform):
    monkeypatch.setattr(jax.random, draw.__name__, recorded(draw))
  total_loss(learner)(net, tasks(), KEY)
  for follow in learner.follows.values():
    follow(net, tasks(), KEY)
  assert purposes
  assert {key: found for key, found in purposes.items() if len(found) > 1} == {}


def test_two_parts_of_one_name_are_refused():
  with pytest.raises(ValueError, match="critic"):
    all_of("parts", {"encoder": 1, "critic": 2}, {"critic": 3})


def test_the_weight_of_the_kl_counts_the_sum_over_tasks_or_their_mean(learner_of):
  values = {}
  for reduction in ("sum", "mean"):
    learner, algorithm = learner_of("pearl_offline", encoder={"kl_reduction": reduction, "kl_weight": 0.2})
    value, metrics = learner.losses["kl_loss"](algorithm.init(KEY).params.net, tasks(), KEY)
    values[reduction] = float(value)
    np.testing.assert_allclose(value, 0.2 * metrics["kl"] * (TASKS if reduction == "sum" else 1), rtol=1e-5)
  assert values["sum"] > values["mean"]


def test_an_error_in_the_reward_counts_as_much_as_one_in_the_whole_change():
  read = Reading(PROBLEM, next_observation=True)
  outcome = jnp.zeros((7, 4))
  np.testing.assert_allclose(read.outcome_error(outcome.at[:, 0].set(2.0), outcome), 4.0)
  np.testing.assert_allclose(read.outcome_error(outcome.at[:, 1:].set(2.0), outcome), 4.0)
  np.testing.assert_allclose(read.outcome_error(outcome.at[:, 1].set(3.0), outcome), 3.0)
  blind = Reading(PROBLEM, next_observation=False)
  np.testing.assert_allclose(blind.outcome_error(jnp.ones((7, 1)), jnp.zeros((7, 1))), 1.0)


def test_encoders_chain_with_gradient_steps_on_an_actor_critics_loss(learner_of):
  """A new task's latent, and then a step of the policy at it: of one task alone, without its data elsewhere."""
  learner, algorithm = learner_of("focal")
  params, support = algorithm.init(KEY).params, one(tasks().support)
  loss = iql(hidden_sizes=(6,))(PROBLEM, 5).losses["policy_loss"]
  both = chain(learner.encoder, gradient_step(loss, on="policy", step_size=1e-5, learn_step_size=False))
  changes, _ = both.apply(params.net, both.init(params.net), support, KEY)
  latent = read(learner, params.net, support)
  np.testing.assert_array_equal(changes[LATENT], latent)
  gradient = jax.grad(lambda policy: loss(params.net | {LATENT: latent, "policy": policy}, support, KEY)[0])
  expected = jax.tree.map(lambda p, g: p - 1e-5 * g, params.net["policy"], gradient(params.net["policy"]))
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7), changes["policy"], expected)
  before, after = (
    loss(params.net | {LATENT: latent} | parts, support, KEY)[0] for parts in ({}, {"policy": changes["policy"]})
  )
  assert after < before


def test_losses_of_actor_critics_can_be_added_and_scaled(learner_of):
  agent = iql(hidden_sizes=(6,))(PROBLEM, 5)
  losses = agent.losses
  combined = add(losses["value_loss"], scale(0.5, losses["policy_loss"]))
  swapped = lambda problem, size: agent._replace(  # noqa: E731
    losses={"critic_loss": losses["critic_loss"], "both": combined},
    trains={"critic_loss": ("critic",), "both": ("value", "policy")},
  )
  algorithm = focal(PROBLEM, encoder=metric_encoder(hidden_sizes=(6,)), actor_critic=swapped)
  plain = focal(PROBLEM, encoder=metric_encoder(hidden_sizes=(6,)), actor_critic=iql(hidden_sizes=(6,)))
  (_, found), (_, expected) = (jax.jit(a.update)(a.init(KEY), tasks(), KEY) for a in (algorithm, plain))
  for name in ("value_loss", "policy_loss", "critic_loss"):
    np.testing.assert_allclose(found[name], expected[name], rtol=1e-5)


@pytest.mark.parametrize("name", ROUTES)
def test_rows_that_do_not_count_are_no_evidence(name):
  """A context of an episode that ended early reads as its valid rows alone, whatever the others hold."""
  factory, settings, _ = ROUTES[name]
  algorithm = small_agent(PROBLEM, factory, **settings)
  state, _ = algorithm.update(algorithm.init(KEY), tasks(), KEY)
  support, valid = one(tasks(5).support), 5
  masked = support._replace(mask=(jnp.arange(len(support.reward)) < valid).astype(float))
  other = jax.tree.map(lambda leaf: leaf.at[valid:].add(3.0), support)._replace(mask=masked.mask)
  alone = jax.tree.map(lambda leaf: leaf[:valid], support)
  latent = lambda context: algorithm.adapt(state.params, context, KEY)[LATENT]  # noqa: E731
  np.testing.assert_array_equal(latent(masked), latent(other))
  # CORRO's is standardised by the small spread of three tasks: rounding grows.
  np.testing.assert_allclose(latent(masked), latent(alone), atol=1e-3 if factory == "corro" else 1e-6)
  assert np.max(np.abs(latent(masked) - latent(support))) > 1e-4
