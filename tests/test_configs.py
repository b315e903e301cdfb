"""Every shipped configuration is right, and builds its algorithm."""

import importlib
import pathlib

import pytest
from experiments.population import members_of

from configs.section import algorithm_section
from experiments.configuration import collects, hyperparameters
from experiments.run import check
from macaw_jax import envs
from macaw_jax.algorithms import ALGORITHMS, ON_POLICY
from macaw_jax.algorithms.settings import defaults_of
from macaw_jax.json_files import flatten
from macaw_jax.types import Problem

ROOT = pathlib.Path(__file__).parent.parent
SHARED = ("__init__", "contextual", "defaults", "on_policy", "section")
NAMES = sorted(path.stem for path in (ROOT / "configs").glob("*.py") if path.stem not in SHARED)


def get_config(name, *family):
  return importlib.import_module(f"configs.{name}").get_config(*family)


def test_every_algorithm_has_its_configuration():
  assert sorted(ALGORITHMS) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_configuration_is_right_on_the_starter_data(name, monkeypatch):
  monkeypatch.chdir(ROOT)
  config = get_config(name)
  assert config.algorithm.name == name
  check(config)


@pytest.mark.parametrize("family", ["cheetah_dir", "cheetah_vel"])
@pytest.mark.parametrize("name", sorted(set(NAMES) - set(ON_POLICY)))
def test_hyperparameters_are_those_of_the_algorithm(name, family):
  config = get_config(name, family)
  ALGORITHMS[name](Problem(20, 6, 3, 0.99), **hyperparameters(config))
  data = config.collection.family if collects(config) else config.dataset.directory
  assert data.endswith(family)


@pytest.mark.parametrize("family", ["point_rotated", "point_rotated_sparse", "cartpole_bias", "cheetah_swapped"])
def test_every_arm_of_norml_is_right_on_every_family(family):
  config = get_config("norml", family)
  check(config)
  config.population.variants, config.population.seeds = "all", 2
  check(config)
  members = members_of(config)
  assert len(members) == 10
  for member in members:
    check(member.config)
    arm = member.config.population.variants
    assert member.config.algorithm.learned_advantage == arm.startswith("norml")
    assert member.config.algorithm.offset == (arm in ("norml", "maml_offset"))
    assert (member.config.algorithm.step_size == 0.0) == (arm == "domain_randomisation")


@pytest.mark.parametrize("arm", ["maml", "e_maml", "promp"])
def test_every_arm_of_maml_rl_is_right(arm):
  config = get_config("maml_rl")
  config.population.variants = arm
  check(config)
  (member,) = members_of(config)
  assert member.config.algorithm.sampling_credit == (arm == "e_maml")


def test_maml_and_e_maml_can_be_members_of_one_program():
  config = get_config("maml_rl")
  config.population.variants = "maml,e_maml"
  check(config)


@pytest.mark.parametrize("family", sorted(envs.FAMILIES))
@pytest.mark.parametrize("name", ["maml_rl", "reptile"])
def test_agents_that_learn_with_rewards_have_a_configuration_of_every_family(name, family):
  check(get_config(name, family))


@pytest.mark.parametrize("family", ["point_robot", "point_robot_sparse", "cheetah_dir", "cheetah_vel"])
def test_families_that_pearl_has_values_for(family):
  config = get_config("pearl", family)
  check(config)
  assert (config.collection.critic_reward == "point_robot") == (family == "point_robot_sparse")


@pytest.mark.parametrize("name", NAMES)
def test_every_hyperparameter_can_be_set(name):
  assert flatten(hyperparameters(get_config(name))).keys() == flatten(defaults_of(name)).keys()


@pytest.mark.parametrize("name", NAMES)
def test_decay_follows_the_number_of_updates_and_not_the_other_way_round(name):
  config = get_config(name)
  rates = config.algorithm if "decay_steps" in config.algorithm else config.algorithm.optimizer
  config.training.steps = 700
  assert rates.decay_steps == 700
  rates.decay_steps = 900
  assert (config.training.steps, rates.decay_steps) == (700, 900)


def test_a_departure_that_the_algorithm_has_no_setting_for_is_refused():
  with pytest.raises(ValueError, match=r"actor_critic.*expectile"):
    algorithm_section("focal", actor_critic={"expectiles": 0.9})
