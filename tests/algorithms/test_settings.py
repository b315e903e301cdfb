"""Settings of every algorithm, from its signature: defaults, faults, choices, traced values."""

import copy
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from macaw_jax.actor_critics import ACTOR_CRITICS, awac, brac, iql
from macaw_jax.algorithms import ALGORITHMS, ON_POLICY, RECORDED, RELEASED, REPLAYED, focal, macaw, maml_awr, settings
from macaw_jax.algorithms.settings import (
  can_be_traced,
  defaults_of,
  make_algorithm,
  refusal_of,
  setting_faults,
  types_of,
  with_values,
)
from macaw_jax.json_files import flatten
from macaw_jax.learners.ppo import ppo
from macaw_jax.types import Problem

PROBLEM = Problem(3, 2, 4, 0.99)
NAN = math.nan
# For each setting, by the last word of its dotted name, values that make no sense.
NONSENSE = {
  **dict.fromkeys(("hidden_sizes", "advantage_hidden_sizes", "decoder_hidden_sizes"), ((), (0,), (100, -1))),
  **dict.fromkeys(("behaviour_model_hidden_sizes", "generator_hidden_sizes"), ((), (0,))),
  **dict.fromkeys(("adaptation_steps", "decay_steps", "encoder_steps", "epochs", "latent_size"), (0,)),
  **dict.fromkeys(("contexts_per_task", "descents", "descent_steps"), (0,)),
  **dict.fromkeys(("num_negatives", "queries_per_task", "generator_latent_size"), (0,)),
  **dict.fromkeys(("inner_value_target", "outer_value_target", "value_target", "advantage_target"), ("best",)),
  "latents": ("best",),
  "stages": ((0,), (3, 4, 5)),
  "gradient_surgery": ("best",),
  **dict.fromkeys(("layer", "matmul_precision", "remat", "name", "kl_reduction", "negatives", "inputs"), ("best",)),
  "predicts": ["best"],
  **dict.fromkeys(("activation", "advantage_activation", "surrogate"), ("best",)),
  **dict.fromkeys(("lambda_", "ema_decay", "tau", "loaded_lambda"), (-0.1, 1.5, NAN)),
  **dict.fromkeys(("standard_deviation", "temperature", "reward_scale", "repulsion_offset", "clip"), (0.0, NAN)),
  "initial_temperature": [0.0, NAN],
  **dict.fromkeys(("reward_noise", "contrastive_temperature", "inner_value_step_size"), (0.0, NAN)),
  **dict.fromkeys(("descent_step_size", "inner_policy_step_size", "advantage_coefficient", "max_weight"), (0.0, NAN)),
  **dict.fromkeys(("value_learning_rate", "policy_learning_rate", "rule_learning_rate"), (-1e-3, NAN)),
  **dict.fromkeys(("fine_tune_value_learning_rate", "fine_tune_policy_learning_rate"), (-1e-3, NAN)),
  **dict.fromkeys(("agent_learning_rate", "encoder_learning_rate", "learning_rate"), (-1e-3, NAN)),
  **dict.fromkeys(("behaviour_penalty", "divergence_target", "max_penalty", "penalty_rate"), (-1.0, NAN)),
  **dict.fromkeys(("kl_weight", "metric_weight", "repulsion", "reconstruction_weight"), (-1.0, NAN)),
  **dict.fromkeys(("information_weight", "step_size", "entropy_weight", "generator_kl_weight"), (-1.0, NAN)),
  "behaviour_model_weight": [-1.0, NAN],
  **dict.fromkeys(("hidden_size", "window", "num_prefixes", "minibatches"), (0,)),
  "num_heads": (0, 3),
  "decoder_sizes": ((), (0,)),
  **dict.fromkeys(("value_weight", "belief_learning_rate"), (-1.0, NAN)),
  "max_gradient_norm": (0.0, NAN),
  **dict.fromkeys(("triplet_weight", "triplet_margin"), (-1.0, NAN)),
  "restart_every": [0],
  **dict.fromkeys(("distillation_learning_rate", "penalty"), (-1.0, NAN)),
  **dict.fromkeys(("beta", "max_gradient_norm"), (0.0, NAN)),
  "alpha": [-0.1, 1.5, NAN],
  "initial_log_std": [math.inf, NAN],
  "expectile": [0.0, 1.0, NAN],
  "task_dropout": [-0.1, 1.0, NAN],
}
# Released sets have the settings of their factories; another actor-critic than theirs does not go with their steps.
OURS = [name for name in ALGORITHMS if name not in RELEASED]
SETTINGS = [(name, setting) for name in OURS for setting in flatten(defaults_of(name))]


def nested(setting, value):
  """One setting by dotted name, beside the choice that takes it."""
  section, _, last = setting.partition(".")
  chosen = {}
  if section in settings.CHOICES and last != "name":
    takers = [name for name, factory in settings.CHOICES[section].items() if last in factory().settings]
    chosen = {f"{section}.name": takers[0]}
  return with_values({}, {**chosen, setting: value})


def test_the_table_is_grouped_by_where_batches_come_from():
  assert {**RECORDED, **REPLAYED, **ON_POLICY} == ALGORITHMS
  assert {*RECORDED} & {*REPLAYED} == {"multitask_sac"}  # which learns from both
  assert not {*ON_POLICY} & {*RECORDED, *REPLAYED}
  assert len(OURS) == 24
  assert {name.removesuffix("_released") for name in RELEASED} <= set(OURS)


@pytest.mark.parametrize(("name", "setting"), SETTINGS)
def test_every_default_passes_and_nonsense_is_refused_by_the_setting_s_name(name, setting):
  default = flatten(defaults_of(name))[setting]
  assert setting_faults(name, PROBLEM, nested(setting, default)) == {}
  if isinstance(default, bool):
    return
  for value in NONSENSE[setting.rpartition(".")[2]]:
    assert refusal_of(name, PROBLEM, nested(setting, value))
    faults = setting_faults(name, PROBLEM, nested(setting, value), "here")
    assert faults.keys() == {setting}
    assert faults[setting].startswith(f"here.{setting} = ")


@pytest.mark.parametrize("name", ALGORITHMS)
def test_defaults_have_their_types_and_make_the_algorithm_of_the_factory(name):
  defaults, types = flatten(defaults_of(name)), types_of(name)
  assert defaults.keys() == types.keys()
  assert all(value is None or isinstance(value, types[setting]) for setting, value in defaults.items())
  assert refusal_of(name, PROBLEM, defaults_of(name)) is None
  of_factory, of_settings = (
    jax.eval_shape(a.init, jax.random.key(0))
    for a in (ALGORITHMS[name](PROBLEM), make_algorithm(name, PROBLEM, defaults_of(name)))
  )
  assert of_factory == of_settings


@pytest.mark.parametrize("name", ALGORITHMS)
def test_unknown_settings_are_refused(name):
  with pytest.raises(TypeError, match="momentum"):
    make_algorithm(name, PROBLEM, {"momentum": 0.9})
  assert setting_faults(name, PROBLEM, {"momentum": 0.9}).keys() == {"momentum"}


@pytest.mark.parametrize("name", OURS)
def test_numbers_may_be_traced(name):
  numbers = {setting: 0.5 for setting, kind in types_of(name).items() if kind is float}
  if "actor_critic.name" in types_of(name):
    taken = iql().settings
    numbers = {s: v for s, v in numbers.items() if not s.startswith("actor_critic.") or s.partition(".")[2] in taken}
    numbers["actor_critic.max_weight"] = 2.0
  base = {"actor_critic": {"name": "iql"}} if "actor_critic.name" in types_of(name) else {}
  jax.eval_shape(lambda numbers: make_algorithm(name, PROBLEM, base, numbers) and None, numbers)
  assert all(can_be_traced(name, PROBLEM, with_values(base, numbers), setting) for setting in numbers)


@pytest.mark.parametrize(
  ("name", "setting"), [("focal", "encoder.latent_size"), ("norml", "epochs"), ("macaw", "adaptation_steps")]
)
def test_settings_that_decide_shapes_cannot_be_traced(name, setting):
  assert not can_be_traced(name, PROBLEM, defaults_of(name), setting)


def test_maml_awr_takes_what_macaw_takes_but_for_the_advantage_head():
  assert defaults_of("macaw").keys() - defaults_of("maml_awr").keys() == {"advantage_coefficient", "relu_action"}
  assert defaults_of("maml_awr").items() <= defaults_of("macaw").items()
  with pytest.raises(TypeError, match="advantage_coefficient"):
    maml_awr(PROBLEM, advantage_coefficient=0.1)


# Choices


def test_another_actor_critic_is_a_change_of_its_name():
  section = defaults_of("focal")["actor_critic"]
  assert section["name"] == "iql"
  for name, factory in ACTOR_CRITICS.items():
    changed = {"actor_critic": section | {"name": name}}
    assert setting_faults("focal", PROBLEM, changed) == {}
    found = jax.eval_shape(make_algorithm("focal", PROBLEM, changed).init, jax.random.key(0))
    assert found == jax.eval_shape(focal(PROBLEM, actor_critic=factory()).init, jax.random.key(0))


def test_choices_share_the_defaults_of_the_settings_that_they_share():
  for choices in settings.CHOICES.values():
    defaults = [factory().settings for factory in choices.values()]
    for one in defaults:
      assert all(one[name] == other[name] for other in defaults for name in one.keys() & other.keys())


def test_a_setting_of_another_choice_must_have_its_default():
  changed = {"actor_critic": {"name": "awac", "expectile": 0.9, "max_weight": 100.0}}
  assert setting_faults("focal", PROBLEM, changed).keys() == {"actor_critic.expectile"}
  with pytest.raises(ValueError, match="expectile"):
    make_algorithm("focal", PROBLEM, changed)
  with pytest.raises(ValueError, match="expectile"):
    make_algorithm("focal", PROBLEM, {"actor_critic": {"name": "awac"}}, {"actor_critic.expectile": jnp.ones(())})


@pytest.mark.parametrize(
  ("changed", "faulty"),
  [
    ({"actor_critic": {"name": "td3"}}, "actor_critic.name"),
    ({"actor_critic": {"name": ["iql"], "tau": 0.1}}, "actor_critic.name"),
    ({"actor_critic": {"expectiles": 0.9}}, "actor_critic.expectiles"),
    ({"encoder": {"name": "metric"}}, "encoder.name"),
    ({"encoder": 3}, "encoder"),
    ({"optimizer": {"encoder_steps": 2.5}}, "optimizer.encoder_steps"),
    ({"latent_size": 5}, "latent_size"),
  ],
)
def test_faults_of_sections_name_their_setting(changed, faulty):
  assert setting_faults("focal", PROBLEM, changed).keys() == {faulty}
  assert refusal_of("focal", PROBLEM, changed) or faulty == "optimizer.encoder_steps"  # refused by its type alone


@pytest.mark.parametrize(
  ("unknown", "meant"),
  [
    ({"actor_critic": {"hidden_size": 3}}, "actor_critic.hidden_sizes"),
    ({"latent_size": 5}, "encoder.latent_size"),
    ({"optimizer": {"momentum": 0.9}}, None),
  ],
)
def test_an_unknown_setting_is_told_what_may_have_been_meant(unknown, meant):
  (line,) = setting_faults("focal", PROBLEM, unknown, "here").values()
  assert line.endswith(f"did you mean here.{meant}?") if meant else "mean" not in line


def test_settings_that_exclude_each_other_are_refused_together_alone():
  changed = {"first_order": True, "learned_advantage": True}
  assert setting_faults("norml", PROBLEM, changed).keys() == {"first_order"}  # the default is a learned advantage
  assert "learned_advantage" in refusal_of("norml", PROBLEM, changed)
  assert refusal_of("norml", PROBLEM, {"first_order": True, "learned_advantage": False}) is None


# Values that have a name


def test_gradient_surgery_is_set_by_its_name():
  assert defaults_of("macaw")["gradient_surgery"] is None
  assert types_of("focal")["gradient_surgery"] is str
  (line,) = setting_faults("focal", PROBLEM, {"gradient_surgery": "best"}, "here").values()
  assert line == "here.gradient_surgery = 'best': expected one of pcgrad, mean or None"
  assert all("gradient_surgery" in defaults_of(name) for name in OURS if name != "single_task_awr")
  assert "gradient_surgery" not in defaults_of("single_task_awr")


# Values


def test_a_part_remembers_its_settings_and_can_be_made_anew():
  part = iql(expectile=0.9)
  assert part.factory is iql
  assert part.settings["expectile"] == 0.9
  assert part.settings["temperature"] == 1.0
  assert part.factory(**part.settings).settings == part.settings
  with pytest.raises(ValueError, match="expectile"):
    iql(expectile=2.0)
  with pytest.raises(TypeError, match="expectile"):
    awac(expectile=0.9)


def test_a_part_has_the_attributes_of_what_its_factory_made():
  assert ppo(clip=0.1, decay_steps=3).total_steps == 3 * 2 * 8
  assert ppo().changed(clip=0.1).clip == 0.1
  assert copy.copy(ppo(clip=0.1)).clip == 0.1
  with pytest.raises(AttributeError, match="momentum"):
    _ = ppo().momentum


def test_defaults_of_a_part_are_those_that_the_algorithm_chose():
  assert defaults_of("distral")["ppo"] == {**defaults_of("rl2")["ppo"], "entropy_weight": 0.0}


def test_overrides_take_the_place_of_settings():
  base = {"actor_critic": {"name": "brac", "behaviour_penalty": 2.0}}
  found = with_values(base, {"actor_critic.behaviour_penalty": 3.0, "optimizer.decay_steps": 5})
  assert found == {"actor_critic": {"name": "brac", "behaviour_penalty": 3.0}, "optimizer": {"decay_steps": 5}}
  assert base["actor_critic"]["behaviour_penalty"] == 2.0
  assert flatten(found)["optimizer.decay_steps"] == 5
  assert brac(behaviour_penalty=3.0).settings["behaviour_penalty"] == 3.0


def test_lists_of_a_stored_configuration_are_as_good_as_tuples():
  algorithms = make_algorithm("macaw", PROBLEM, {"hidden_sizes": [4, 5]}), macaw(PROBLEM, hidden_sizes=(4, 5))
  one, other = (jax.eval_shape(a.init, jax.random.key(0)) for a in algorithms)
  assert one == other
  assert np.all(setting_faults("macaw", PROBLEM, {"hidden_sizes": [4, 5]}) == {})
