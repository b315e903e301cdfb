"""Context-based agents: what trains what, what follows, and what each encoder keeps."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_context_batches import KEY, PROBLEM, SMALL, TASKS, one, tasks

from macaw_jax.actor_critics import CORES
from macaw_jax.algorithms import corro, csro, focal, pearl, pearl_offline, unicorn
from macaw_jax.algorithms.contextual import KNOWN_LATENTS, SCALE, all_of, reading
from macaw_jax.algorithms.corro import LATENT_SCALE, noisy_rewards
from macaw_jax.learners.context import LATENT, total_loss, train_only
from macaw_jax.networks.running_scale import initial_scale, standardise

AGENT = {"critic_loss": {"critic"}, "value_loss": {"value"}, "policy_loss": {"policy"}}  # of 'sac' and 'iql'
# What each paper holds fixed, written down a second time: algorithm, arguments, loss and the parts it trains.
ROUTES = {
  "pearl": (pearl, {}, AGENT | {"critic_loss": {"critic", "encoder"}, "kl_loss": {"encoder"}}),
  "pearl_offline": (pearl_offline, {}, AGENT | {"critic_loss": {"critic", "encoder"}, "kl_loss": {"encoder"}}),
  "focal": (focal, {}, AGENT | {"metric_loss": {"encoder"}}),
  "focal, brac": (
    focal,
    {"core": "brac", "divergence_target": 0.05},
    AGENT | {"metric_loss": {"encoder"}, "discriminator_loss": {"discriminator"}, "multiplier_loss": {"multiplier"}},
  ),
  "unicorn": (unicorn, {}, AGENT | {"metric_loss": {"encoder"}, "reconstruction_loss": {"encoder", "decoder"}}),
  "csro": (
    csro,
    {},
    AGENT
    | {
      "metric_loss": {"encoder"},
      "information_loss": {"encoder"},
      "behaviour_model_loss": {"behaviour_model"},
    },
  ),
  "corro": (
    corro,
    {"queries_per_task": 4},
    AGENT | {"critic_loss": {"critic", "aggregator"}, "contrastive_loss": {"encoder"}},
  ),
  "corro, generator": (
    corro,
    {"queries_per_task": 4, "negatives": "generator"},
    AGENT
    | {
      "critic_loss": {"critic", "aggregator"},
      "contrastive_loss": {"encoder"},
      "generator_loss": {"generator"},
    },
  ),
}
pytestmark = pytest.mark.usefixtures("quick_compile")


def largest(tree):
  return max((float(jnp.max(jnp.abs(leaf))) for leaf in jax.tree.leaves(tree)), default=0.0)


def moved(algorithm):
  """A net after two updates: nothing in it is zero by initialisation."""
  state = algorithm.init(KEY)
  update = jax.jit(algorithm.update)
  for seed in (2, 3):
    state, _ = update(state, tasks(seed), jax.random.key(seed))
  return state.params.net


@pytest.mark.parametrize("name", ROUTES)
def test_each_loss_trains_what_its_paper_says_and_nothing_else(learner_of, name):
  factory, arguments, routes = ROUTES[name]
  learner, algorithm = learner_of(factory, **arguments)
  net = moved(algorithm)
  assert learner.losses.keys() == routes.keys()

  def restricted(net, loss, parts):
    return learner.losses[loss](train_only(net, parts), tasks(), KEY)[0]

  for loss, trained in routes.items():
    gradient = jax.grad(restricted)(net, loss, learner.trains[loss])
    for part in net:
      assert (largest(gradient[part]) > 0) == (part in trained), (loss, part)

  # And their sum trains with the sum of these gradients: nothing else reaches a part.
  total = jax.grad(lambda net: total_loss(learner)(net, tasks(), KEY)[0])(net)
  gradients = [jax.grad(restricted)(net, loss, learner.trains[loss]) for loss in routes]
  expected = jax.tree.map(lambda *leaves: sum(leaves), *gradients)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5), total, expected)


@pytest.mark.parametrize("name", ["focal", "unicorn", "csro"])
def test_an_encoder_without_weight_on_its_losses_stays_bit_for_bit(name):
  weights = {"metric_weight": 0.0}
  weights |= {"unicorn": {"reconstruction_weight": 0.0}, "csro": {"information_weight": 0.0}}.get(name, {})
  algorithm = ROUTES[name][0](PROBLEM, **SMALL, **weights)
  state = algorithm.init(KEY)
  after, _ = algorithm.update(state, tasks(), KEY)
  jax.tree.map(np.testing.assert_array_equal, after.params.net["encoder"], state.params.net["encoder"])
  assert largest(jax.tree.map(jnp.subtract, after.params.net["critic"], state.params.net["critic"])) > 0


def test_slow_copies_start_equal_and_follow_by_the_target_rate():
  algorithm = pearl(PROBLEM, **SMALL, tau=0.25)
  state = algorithm.init(KEY)
  jax.tree.map(np.testing.assert_array_equal, state.params.net["target_value"], state.params.net["value"])
  after, _ = algorithm.update(state, tasks(), KEY)
  before, net = state.params.net, after.params.net
  jax.tree.map(
    lambda old, new, slow: np.testing.assert_allclose(slow, 0.75 * old + 0.25 * new, rtol=1e-6, atol=1e-7),
    before["target_value"],
    net["value"],
    net["target_value"],
  )


@pytest.mark.parametrize(
  ("factory", "arguments", "moving"),
  [
    (focal, {}, "policy"),
    (pearl_offline, {}, "critic"),
    (corro, {"queries_per_task": 4, "negatives": "generator"}, "aggregator"),
  ],
)
def test_an_encoder_stands_still_after_its_steps_and_the_agent_does_not(factory, arguments, moving):
  algorithm = factory(PROBLEM, **SMALL, **arguments, encoder_steps=2)
  state, nets = algorithm.init(KEY), []
  for seed in range(4):
    state, _ = algorithm.update(state, tasks(seed), jax.random.key(seed))
    nets.append(state.params.net)
  assert largest(jax.tree.map(jnp.subtract, nets[1]["encoder"], nets[0]["encoder"])) > 0
  jax.tree.map(np.testing.assert_array_equal, nets[3]["encoder"], nets[1]["encoder"])
  assert largest(jax.tree.map(jnp.subtract, nets[3][moving], nets[2][moving])) > 0
  if "generator" in nets[3]:
    jax.tree.map(np.testing.assert_array_equal, nets[3]["generator"], nets[1]["generator"])


@pytest.mark.parametrize("name", ROUTES)
def test_the_latent_does_not_depend_on_the_order_of_the_context(name):
  factory, arguments, _ = ROUTES[name]
  algorithm = factory(PROBLEM, **SMALL, **arguments)
  state = algorithm.init(KEY)
  state, _ = algorithm.update(state, tasks(), KEY)
  support = one(tasks(5).support)
  shuffled = jax.tree.map(lambda leaf: leaf[::-1], support)
  np.testing.assert_allclose(
    algorithm.adapt(state.params, support, KEY)[LATENT],
    algorithm.adapt(state.params, shuffled, KEY)[LATENT],
    atol=1e-3 if factory is corro else 1e-6,  # standardised by the small spread of three tasks: rounding grows
  )


def test_the_prior_of_pearl_is_a_standard_normal():
  algorithm = pearl(PROBLEM, **SMALL)
  params = algorithm.init(KEY).params
  draws = jax.vmap(lambda key: algorithm.prior(params, key)[LATENT])(jax.random.split(KEY, 4000))
  np.testing.assert_allclose(draws.mean(axis=0), 0.0, atol=0.08)
  np.testing.assert_allclose(draws.std(axis=0), 1.0, atol=0.05)


@pytest.mark.parametrize("name", ["focal", "unicorn", "csro", "corro"])
def test_the_prior_of_deterministic_encoders_is_the_latent_of_a_known_task(name):
  factory, arguments, _ = ROUTES[name]
  algorithm = factory(PROBLEM, **SMALL, **arguments)
  state = algorithm.init(KEY)
  state, _ = algorithm.update(state, tasks(), KEY)
  known = state.params.net[KNOWN_LATENTS]
  np.testing.assert_array_equal(known[1], 0.0)  # never in a batch
  assert np.all(np.any(np.asarray(known)[[3, 0, 2]] != 0, axis=-1))
  draws = jax.vmap(lambda key: algorithm.prior(state.params, key)[LATENT])(jax.random.split(KEY, 200))
  found = {tuple(np.asarray(draw)) for draw in draws}
  assert found == {tuple(np.asarray(row)) for row in known}


def test_one_belief_of_many_transitions_is_sharper_than_of_few():
  algorithm = pearl(PROBLEM, **SMALL)
  params = algorithm.init(KEY).params
  support = one(tasks().support)
  spread = lambda support: jax.vmap(lambda key: algorithm.adapt(params, support, key)[LATENT])(  # noqa: E731
    jax.random.split(KEY, 500)
  ).std(axis=0)
  few = jax.tree.map(lambda leaf: leaf[:2], support)
  np.testing.assert_allclose(spread(few) / spread(support), 2.0, rtol=0.15)  # sqrt(8 / 2), factors near softplus(0)


def test_what_is_read_is_standardised_by_its_running_scale():
  read = reading(PROBLEM, next_observation=True)
  batch = tasks()
  tiny = batch._replace(support=batch.support._replace(reward=1e-3 * batch.support.reward + 5.0))
  net = {SCALE: read.init(KEY)}
  net = {SCALE: read.follow(net, tiny, KEY)}
  rows = read.rows(net, tiny.support)
  behaviour, outcome = read.split(rows)
  assert (behaviour.shape[-1], outcome.shape[-1]) == (5, 4)
  np.testing.assert_allclose(outcome[..., 0].mean(), 0.0, atol=0.05)
  assert 0.15 < outcome[..., 0].std() < 1.5  # a thousandth before, under a mean of five
  blind = reading(PROBLEM, next_observation=False)
  changed = tiny.support._replace(next_observation=tiny.support.next_observation + 1.0)
  net = {SCALE: blind.init(KEY)}
  np.testing.assert_array_equal(blind.rows(net, tiny.support), blind.rows(net, changed))


def test_noise_changes_rewards_alone_and_has_its_standard_deviation():
  outcome = jnp.arange(12.0).reshape(3, 4)
  noisy = noisy_rewards(outcome, KEY, 4000, 0.5)
  assert noisy.shape == (3, 4000, 4)
  np.testing.assert_array_equal(noisy[..., 1:], jnp.broadcast_to(outcome[:, None, 1:], (3, 4000, 3)))
  added = noisy[..., 0] - outcome[:, None, 0]
  np.testing.assert_allclose(added.mean(), 0.0, atol=0.02)
  np.testing.assert_allclose(added.std(), 0.5, atol=0.02)


def test_latents_of_focal_lie_in_the_open_cube(learner_of):
  learner, algorithm = learner_of(focal)
  assert np.all(np.abs(learner.infer(moved(algorithm), tasks().support, KEY)) < 1)


def test_corro_aggregates_a_context_in_the_unit_ball_and_standardises_that(learner_of):
  learner, algorithm = learner_of(corro, queries_per_task=4)
  net = moved(algorithm)
  unscaled = net | {LATENT_SCALE: initial_scale(5)}
  support = tasks().support
  single = jax.tree.map(lambda leaf: leaf[:, :1], support)
  assert np.all(np.linalg.norm(learner.infer(unscaled, support, KEY), axis=-1) < 1)
  np.testing.assert_allclose(np.linalg.norm(learner.infer(unscaled, single, KEY), axis=-1), 1.0, rtol=1e-5)
  for context in (support, single):
    aggregated = learner.infer(unscaled, context, KEY)
    np.testing.assert_array_equal(learner.infer(net, context, KEY), standardise(net[LATENT_SCALE], aggregated))


@pytest.mark.parametrize("name", [name for name in ROUTES if name not in ("pearl", "focal")])
def test_no_key_of_an_update_serves_two_purposes(name, learner_of, monkeypatch):
  factory, arguments, _ = ROUTES[name]
  purposes = {}

  def recorded(draw):
    def record(key, *what, **named):
      if not isinstance(key, jax.core.Tracer):  # as where a network only asks for the shapes of its parameters
        purposes.setdefault(tuple(jax.random.key_data(key).tolist()), set()).add((draw.__name__, what, *named.items()))
      return draw(key, *what, **named)

    return record

  learner, algorithm = learner_of(factory, **{**arguments, "core": "brac"})  # whose losses draw most
  net = algorithm.init(KEY).params.net
  for draw in (jax.random.split, jax.random.normal, jax.random.uniform):
    monkeypatch.setattr(jax.random, draw.__name__, recorded(draw))
  total_loss(learner)(net, tasks(), KEY)
  for follow in learner.follows.values():
    follow(net, tasks(), KEY)
  assert purposes
  assert {key: found for key, found in purposes.items() if len(found) > 1} == {}


@pytest.mark.parametrize("core", CORES)
def test_a_core_passes_over_the_arguments_of_others(core):
  of_another = {"behaviour_penalty": -3.0} if core != "brac" else {"expectile": 7.0}
  focal(PROBLEM, **SMALL, core=core, **of_another)


def test_two_parts_of_one_name_are_refused():
  with pytest.raises(ValueError, match="two parts are called critic"):
    all_of("parts", {"encoder": 1, "critic": 2}, {"critic": 3})


def test_the_weight_of_the_kl_counts_the_sum_over_tasks_or_their_mean(learner_of):
  values = {}
  for reduction in ("sum", "mean"):
    learner, algorithm = learner_of(pearl_offline, kl_reduction=reduction, kl_weight=0.2)
    value, metrics = learner.losses["kl_loss"](algorithm.init(KEY).params.net, tasks(), KEY)
    values[reduction] = float(value)
    np.testing.assert_allclose(value, 0.2 * metrics["kl"] * (TASKS if reduction == "sum" else 1), rtol=1e-5)
  assert values["sum"] > values["mean"]


def test_a_support_that_cannot_be_halved_is_refused():
  algorithm = focal(PROBLEM, **SMALL)
  batch = tasks()
  alone = batch._replace(support=jax.tree.map(lambda leaf: leaf[:, :1], batch.support))
  with pytest.raises(ValueError, match="needs two or more"):
    algorithm.update(algorithm.init(KEY), alone, KEY)


def test_an_error_in_the_reward_counts_as_much_as_one_in_the_whole_change():
  read = reading(PROBLEM, next_observation=True)
  outcome = jnp.zeros((7, 4))
  np.testing.assert_allclose(read.outcome_error(outcome.at[:, 0].set(2.0), outcome), 4.0)
  np.testing.assert_allclose(read.outcome_error(outcome.at[:, 1:].set(2.0), outcome), 4.0)
  np.testing.assert_allclose(read.outcome_error(outcome.at[:, 1].set(3.0), outcome), 3.0)
  blind = reading(PROBLEM, next_observation=False)
  np.testing.assert_allclose(blind.outcome_error(jnp.ones((7, 1)), jnp.zeros((7, 1))), 1.0)
