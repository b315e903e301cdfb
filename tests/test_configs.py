"""Every shipped configuration is right, and its update has shapes that fit together."""

import importlib
import pathlib

import jax
import jax.numpy as jnp
import pytest
from miniatures import write_point_robot

from configs.section import algorithm_section
from experiments.build import build, examine, kind_of, waiting_agent
from experiments.configuration import settings_of
from experiments.variants import members_of
from macaw_jax import envs
from macaw_jax.algorithms import ALGORITHMS, RECORDED, RELEASED, REPLAYED
from macaw_jax.algorithms.settings import defaults_of, make_algorithm
from macaw_jax.json_files import flatten
from macaw_jax.types import Problem

ROOT = pathlib.Path(__file__).parent.parent
SHARED = ("__init__", "algorithm", "common", "contextual", "defaults", "on_policy", "released", "replayed", "section")
SHARED += ("known_tasks", "sequences", "trials")
NAMES = sorted(path.stem for path in (ROOT / "configs").glob("*.py") if path.stem not in SHARED)


def get_config(name, *family):
  return importlib.import_module(f"configs.{name}").get_config(*family)


def test_every_algorithm_has_its_configuration():
  assert sorted({*ALGORITHMS} - {*RELEASED}) == NAMES


CONFIGS = [
  *((name, ()) for name in NAMES),
  ("multitask_sac", ("cheetah_dir", "recorded")),
  *(("released", (each.removesuffix("_released"),)) for each in RELEASED),
  *(("released", (f"{each.removesuffix('_released')},,small",)) for each in RELEASED if each in RECORDED),
]


@pytest.mark.parametrize(("name", "arguments"), CONFIGS)
def test_an_update_can_be_traced(name, arguments, monkeypatch, capsys):
  """On the starter data, or in the default family; nothing is computed."""
  monkeypatch.chdir(ROOT)
  config = get_config(name, *arguments)
  assert config.algorithm.name == (name if name != "released" else f"{arguments[0].partition(',')[0]}_released")
  run = build(config)
  (each,) = run.members

  def update(key):
    algorithm = run.make_algorithm(**each.hyperparameters)
    state = algorithm.init(key)
    data = run.source.empty() if run.source.empty else run.source.init(state.params, key)
    return algorithm.update(state, run.source.sample(jax.tree.map(jnp.asarray, data), key), key), state

  (updated, metrics), state = jax.eval_shape(update, jax.random.key(0))
  assert jax.tree.structure(updated) == jax.tree.structure(state)
  assert all(leaf.shape == () for leaf in jax.tree.leaves(metrics))


@pytest.mark.parametrize("name", sorted({*RECORDED, *REPLAYED} - {*RELEASED}))
def test_other_families_have_values_that_the_algorithm_takes(name):
  config = get_config(name, "cheetah_vel")
  make_algorithm(name, Problem(20, 6, 3, 0.99), settings_of(config))
  shown = "_task_vector" if "collection" in config and config.collection.family.endswith("+task_vector") else ""
  assert kind_of(config).data_name(config) == f"cheetah_vel{shown}"


def test_a_run_that_ends_before_its_actor_critic_learns_says_so():
  config = get_config("released", "corro,,small")
  assert list(waiting_agent(config)) == list(waiting_agent(get_config("corro"))) == []
  config.training.steps = sum(config.algorithm.stages)
  (line,) = waiting_agent(config)
  assert "from update 5000 on (config.algorithm.stages), and not within the 5000 updates" in line


@pytest.mark.parametrize("family", ["point_rotated", "point_rotated_sparse", "cartpole_bias", "cheetah_swapped"])
def test_every_variant_of_norml_is_right_on_every_family(family):
  config = get_config("norml", family)
  examine(config)
  config.population.variants, config.population.seeds = "all", 2
  examine(config)
  members = members_of(config, family)
  assert len(members) == 10
  for member in members:
    settings, variant = member.config["algorithm"], member.variant
    assert settings["learned_advantage"] == variant.startswith("norml")
    assert settings["offset"] == (variant in ("norml", "maml_offset"))
    assert (settings["step_size"] == 0.0) == (variant == "domain_randomisation")


@pytest.mark.parametrize("variant", ["maml", "e_maml", "promp", "maml,e_maml"])
def test_every_variant_of_maml_rl_is_right(variant):
  """MAML and E-MAML can be members of one program."""
  config = get_config("maml_rl")
  config.population.variants = variant
  examine(config)
  members = members_of(config, "")
  assert [member.config["algorithm"]["sampling_credit"] for member in members] == [
    name == "e_maml" for name in variant.split(",")
  ]


@pytest.mark.parametrize("family", sorted(envs.FAMILIES))
@pytest.mark.parametrize("name", ["maml_rl", "reptile"])
def test_agents_that_learn_with_rewards_have_a_configuration_of_every_family(name, family):
  examine(get_config(name, family))


@pytest.mark.parametrize("family", ["point_robot", "point_robot_sparse", "cheetah_dir", "cheetah_vel"])
def test_families_that_pearl_has_values_for(family):
  config = get_config("pearl", family)
  examine(config)
  assert (config.collection.critic_reward == "point_robot") == (family == "point_robot_sparse")


@pytest.mark.parametrize("name", NAMES)
def test_every_setting_can_be_set(name):
  assert flatten(settings_of(get_config(name))).keys() == flatten(defaults_of(name)).keys()


@pytest.mark.parametrize("name", [name for name in NAMES if name != "single_task_awr"])  # which has no learning rate
def test_decay_follows_the_number_of_updates_and_not_the_other_way_round(name):
  config = get_config(name)
  sections = (config.algorithm, *(config.algorithm.get(section, {}) for section in ("optimizer", "ppo")))
  (rates,) = (section for section in sections if "decay_steps" in section)
  config.training.steps = 700
  assert rates.decay_steps == 700
  rates.decay_steps = 900
  assert (config.training.steps, rates.decay_steps) == (700, 900)


def test_a_departure_that_the_algorithm_has_no_setting_for_is_refused():
  with pytest.raises(ValueError, match=r"actor_critic.*expectile"):
    algorithm_section("focal", actor_critic={"expectiles": 0.9})


def test_a_name_is_that_of_a_family_or_of_a_dataset(tmp_path, monkeypatch):
  """The data of an own family `<module>:<attribute>` have the attribute's name."""
  monkeypatch.chdir(tmp_path)
  for name in ("imported", "reach"):
    write_point_robot(tmp_path / "data" / name)
  for name, directory in {
    "imported": "data/imported",
    "my_envs:reach": "data/reach",
    "point_robot": "data/point_robot",  # to be collected
    "cheetah_dir": str(ROOT / "starter_data" / "cheetah_dir"),
  }.items():
    assert get_config("macaw", name).dataset.directory == directory
    assert get_config("focal", name).algorithm == get_config("focal").algorithm
  with pytest.raises(ValueError, match=r"'cheetah_vol': expected a task family or a dataset.*cheetah_vel"):
    get_config("macaw", "cheetah_vol")


def test_any_algorithm_runs_from_one_configuration(monkeypatch):
  monkeypatch.chdir(ROOT)
  for named in ("multitask_bc", "focal", "maml_rl,cartpole_bias"):
    config = get_config("algorithm", named)
    assert config.algorithm.name == named.partition(",")[0]
    examine(config)
  with pytest.raises(ValueError, match="'pearl': expected one of"):
    get_config("algorithm", "pearl")
