"""Configurations that cannot be run, each with all that is said of it; `docs/wrong_configurations.md` shows the table.

python tests/experiments/wrong_configurations.py > docs/wrong_configurations.md
"""
# ruff: noqa: E501  (a message is one line)

import json
import re
from pathlib import Path
from typing import NamedTuple

from macaw_jax.data.manifest import document_digest

REPOSITORY = Path(__file__).parents[2]
STARTER = REPOSITORY / "starter_data" / "cheetah_dir"
MACAW = "--config=configs/macaw.py"
NORML = "--config=configs/norml.py"


class Case(NamedTuple):
  """A command line behind `python -m experiments.run`, and the lines that refuse it."""

  what: str
  arguments: tuple[str, ...]
  lines: tuple[str, ...]


def case(what: str, arguments: str, *lines: str) -> Case:
  """A case of MACAW's configuration, or of the one that the arguments name."""
  given = tuple(re.findall(r"\S+", arguments))
  return Case(what, given if any(each.startswith("--config=") for each in given) else (MACAW, *given), lines)


def edited(*edits: str, name: str = "macaw") -> str:
  """A configuration file that changes the values of another in ways that a command line cannot."""
  lines = [
    "import ml_collections",
    f"from configs import {name}",
    "",
    "def get_config():",
    f"  values = {name}.get_config().to_dict()",
    *(f"  {edit}" for edit in edits),
    "  return ml_collections.ConfigDict(values)",
  ]
  return "\n".join(lines) + "\n"


FILES = {
  "notes.txt": "nothing\n",
  "syntax.py": "def get_config(:\n",
  "empty.py": "steps = 5\n",
  "raises.py": "def get_config():\n  return 1 / 0\n",
  "imports.py": "import no_such_package\n",
  "returns_none.py": "def get_config():\n  config = 5\n",
  "no_argument.py": "def get_config():\n  return None\n",
  "needs_argument.py": "def get_config(family):\n  return None\n",
  "no_devices.py": edited("del values['devices']"),
  "no_section.py": edited("values['evaluation'] = 20", "values['seed'] = {'value': 1}"),
  "of_other_types.py": edited(
    "values['seed'] = '1'",
    "values['training']['steps'] = True",
    "values['devices']['distributed'] = 'no'",
    "values['algorithm']['temperature'] = True",
    "values['algorithm']['hidden_sizes'] = 64",
    "values['algorithm']['first_order'] = 1",
    "values['algorithm']['layer'] = None",
    "values['algorithm']['inner_steps'] = 1.0",
  ),
  "misspelt.py": edited(
    "values['sead'] = 1",
    "values['training']['batch_size'] = 5",
    "values['algorithm']['tempreature'] = 0.5",
    "values['algorithm']['optimizer'] = 'adam'",
    "values['wandb'] = {'project': 'x'}",
  ),
  "nothing_said.py": edited("values['algorithm'] = {'name': 'macaw'}", "del values['dataset']['split']"),
  "other_arms.py": edited(
    "values['arms']['maml']['clipp'] = 0.1",
    "values['arms']['norml']['offset'] = 'yes'",
    "values['arms']['norml']['initial_log_std'] = None",
    "values['arms']['domain_randomisation'] = 0",
    name="norml",
  ),
  "unlike_arms.py": edited(
    "del values['arms']['maml']['offset']", "values['arms']['maml']['clip'] = 0.1", name="norml"
  ),
  "no_arms.py": edited("values['arms'] = 'all'", "values['rollouts']['horizons'] = 5", name="norml"),
  "two_kinds.py": edited("values['dataset'] = {'directory': 'starter_data/cheetah_dir'}", name="norml"),
}

# Datasets that are not as they should be, by what differs from the starter data's manifest.
MANIFESTS = {
  "of_no_family": {"family": "snake"},
  "of_another_family": {"family": "cheetah_vel"},
  "of_other_sizes": {"family": "point_robot"},
  "without_tasks": {"train_tasks": [], "test_tasks": []},
  "with_wrong_fields": {"horizon": 0, "discount": 1.5},
}


def write_workspace(directory: Path) -> None:
  """Writes what the cases need into a directory, which they are then run in."""
  for name in ("configs", "starter_data"):
    (directory / name).symlink_to(REPOSITORY / name)
  for name, text in FILES.items():
    (directory / name).write_text(text)
  document = json.loads((STARTER / "manifest.json").read_text())
  for name, changes in MANIFESTS.items():
    _write_dataset(directory / "data" / name, document | changes)
  _write_dataset(directory / "data" / "without_a_file", document, without="task_01.npz")
  _write_dataset(directory / "data" / "whole", document)
  _write_dataset(directory / "data" / "whole_other_policies", document | {"family": "snake"})
  (directory / "data" / "no_json").mkdir()
  (directory / "data" / "no_json" / "manifest.json").write_text("family: cheetah_dir\n")


def _write_dataset(directory: Path, document: dict, without: str = "") -> None:
  directory.mkdir(parents=True)
  (directory / "manifest.json").write_text(json.dumps(document | {"digest": document_digest(document)}))
  for path in STARTER.glob("*.npz"):
    if path.name != without:
      (directory / path.name).symlink_to(path)


CASES = [
  case(
    "a value below its range",
    "--config.training.steps=0",
    "config.training.steps = 0: expected an integer of at least 1",
  ),
  case("a negative seed", "--config.seed=-1", "config.seed = -1: expected an integer from 0 to 2^32 - 1"),
  case(
    "a seed beyond 32 bits",
    "--config.seed=4294967296",
    "config.seed = 4294967296: expected an integer from 0 to 2^32 - 1",
  ),
  case(
    "text for an integer",
    "--config.training.steps=abc",
    "command line: flag --config.training.steps=abc: expected an integer",
  ),
  case(
    "a fraction for an integer",
    "--config.training.steps=1.5",
    "command line: flag --config.training.steps=1.5: expected an integer",
  ),
  case(
    "text for a number",
    "--config.algorithm.temperature=warm",
    "command line: flag --config.algorithm.temperature=warm: expected a number",
  ),
  case(
    "text for a switch",
    "--config.algorithm.first_order=maybe",
    "command line: flag --config.algorithm.first_order=maybe: expected true or false",
  ),
  case(
    "text for sizes",
    "--config.algorithm.hidden_sizes=wide",
    "command line: flag --config.algorithm.hidden_sizes=wide: expected values as (100, 100)",
  ),
  case(
    "a value for a whole section",
    "--config.training=5",
    "command line: flag --config.training=5: config.training has fields; expected --config.training.<field>=<value>",
  ),
  case(
    "a misspelt field",
    "--config.training.step=4",
    "command line: the configuration has no field 'training.step'; did you mean config.training.steps?",
  ),
  case(
    "a misspelt section",
    "--config.trainin.steps=4",
    "command line: the configuration has no field 'trainin.steps'; did you mean config.training?",
  ),
  case(
    "a field inside a field",
    "--config.seed.value=4",
    "command line: the configuration has no field 'seed.value'; config.seed is 0",
  ),
  case("a field without its value", "--config.seed", "command line: flag --config.seed=: expected an integer"),
  case(
    "several overrides wrong, and a value",
    "--config.training.steps=abc --config.sead=1 --config.algorithm.lamda=0.9 --config.algorithm.temperature=0",
    "command line: flag --config.training.steps=abc: expected an integer",
    "command line: the configuration has no field 'sead'; did you mean config.seed?",
    "command line: the configuration has no field 'algorithm.lamda'; did you mean config.algorithm.lambda_?",
    "config.algorithm.temperature = 0.0: must be positive",
  ),
  case("no configuration", "--config=", "no configuration; expected --config=configs/<name>.py"),
  case(
    "a configuration twice",
    "--config=configs/macaw.py --config=configs/maml_awr.py",
    "command line: --config is there 2 times: configs/macaw.py, configs/maml_awr.py",
  ),
  case(
    "a file that is not there",
    "--config=configs/mecaw.py",
    "--config=configs/mecaw.py: no such file; expected --config=configs/<name>.py",
  ),
  case(
    "a folder for a file", "--config=configs", "--config=configs: no such file; expected --config=configs/<name>.py"
  ),
  case("a file with a syntax error", "--config=syntax.py", "--config=syntax.py: line 1: SyntaxError: invalid syntax"),
  case("a file without get_config", "--config=empty.py", "--config=empty.py: expected a function get_config in it"),
  case(
    "a get_config that raises", "--config=raises.py", "--config=raises.py: line 2: ZeroDivisionError: division by zero"
  ),
  case(
    "a file that imports what is not installed",
    "--config=imports.py",
    "--config=imports.py: line 1: ModuleNotFoundError: No module named 'no_such_package'",
  ),
  case(
    "a get_config that returns nothing",
    "--config=returns_none.py",
    "--config=returns_none.py: its get_config gave None; expected an ml_collections.ConfigDict",
  ),
  case(
    "an argument for a get_config without",
    "--config=no_argument.py:cheetah_vel",
    "--config=no_argument.py:cheetah_vel: its get_config takes no argument",
  ),
  case(
    "no argument for a get_config with one",
    "--config=needs_argument.py",
    "--config=needs_argument.py: its get_config needs an argument; expected --config=needs_argument.py:<argument>",
  ),
  case(
    "a family whose data are not there",
    "--config=configs/macaw.py:cheetah_vel",
    "config.dataset.directory = 'data/cheetah_vel': no dataset there. Starter data in this directory: starter_data/cheetah_dir. To collect a full dataset: python -m experiments.collect --config=configs/collect/cheetah_vel.py",
  ),
  case(
    "a family that is unknown",
    "--config=configs/macaw.py:unknown_family",
    "config.dataset.directory = 'data/unknown_family': no dataset there. Starter data in this directory: starter_data/cheetah_dir. To collect a full dataset: python -m experiments.collect --config=configs/collect/<family>.py (families: ant_dir, ant_dir_forward, ant_goal, cheetah_dir, cheetah_vel, hopper_params, humanoid_dir, point_robot, point_robot_sparse, point_robot_wind, walker_params)",
  ),
  case(
    "a section that is missing",
    "--config=no_devices.py",
    "config.devices.seed is missing; expected an integer of at least 1",
    "config.devices.task is missing; expected an integer of at least 1",
    "config.devices.distributed is missing; expected True or False",
  ),
  case(
    "a number for a section",
    "--config=no_section.py",
    "config.seed is missing; expected an integer from 0 to 2^32 - 1",
    "config.evaluation = 20: expected the fields episodes, support_size, support, order, engine, train_tasks",
  ),
  case(
    "values of other types",
    "--config=of_other_types.py",
    "config.seed = '1': expected an integer from 0 to 2^32 - 1",
    "config.training.steps = True: expected an integer of at least 1",
    "config.devices.distributed = 'no': expected True or False",
    "config.algorithm.first_order = 1: expected True or False",
    "config.algorithm.hidden_sizes = 64: expected integers, as (100, 100)",
    "config.algorithm.inner_steps = 1.0: expected an integer",
    "config.algorithm.layer = None: expected text",
    "config.algorithm.temperature = True: expected a finite number",
  ),
  case(
    "fields that are unknown",
    "--config=misspelt.py",
    "config.sead is unknown; did you mean config.seed?",
    "config.training.batch_size is unknown; config.training has steps, tasks_per_update, support_size, query_size, order, log_every, evaluate_every, checkpoint_every, keep_checkpoints, max_skips_in_a_row",
    "config.wandb is unknown; config has seed, output_directory, dataset, algorithm, training, evaluation, population, devices",
    "config.algorithm.optimizer is no hyper-parameter of macaw",
    "config.algorithm.tempreature is no hyper-parameter of macaw; did you mean config.algorithm.temperature?",
  ),
  case(
    "a field that is missing, and hyper-parameters left at their defaults",
    "--config=nothing_said.py",
    "config.dataset.split is missing; expected one of in_distribution, extrapolation",
  ),
  case(
    "steps that are no multiple",
    "--config.training.steps=5050",
    "config.training.steps = 5050 is not a multiple of config.training.log_every = 100, the number of updates in one compiled call",
  ),
  case(
    "several that are no multiple",
    "--config.training.log_every=300",
    "config.training.steps = 5000 is not a multiple of config.training.log_every = 300, the number of updates in one compiled call",
    "config.training.evaluate_every = 500 is not a multiple of config.training.log_every = 300, the number of updates in one compiled call",
    "config.training.checkpoint_every = 1000 is not a multiple of config.training.log_every = 300, the number of updates in one compiled call",
  ),
  case(
    "fewer checkpoints than one",
    "--config.training.keep_checkpoints=0",
    "config.training.keep_checkpoints = 0: expected an integer of at least 1",
  ),
  case(
    "skips that never end",
    "--config.training.max_skips_in_a_row=0",
    "config.training.max_skips_in_a_row = 0: expected an integer of at least 1",
  ),
  case(
    "an unknown algorithm",
    "--config.algorithm.name=macaws",
    "config.algorithm.name = 'macaws': expected one of macaw, maml_awr, multitask_awr, multitask_bc, pearl, pearl_offline, focal, unicorn, csro, corro",
  ),
  case(
    "an unknown order of rows",
    "--config.training.order=sorted --config.evaluation.order=contiguous_support",
    "config.training.order = 'sorted': expected one of uniform, contiguous, contiguous_support",
    "config.evaluation.order = 'contiguous_support': expected one of uniform, contiguous",
  ),
  case(
    "an unknown engine",
    "--config.evaluation.engine=brax",
    "config.evaluation.engine = 'brax': expected one of native, mjx",
  ),
  case(
    "a part of the data without its size",
    "--config.dataset.quality=end",
    "config.dataset.quality = 'end' with config.dataset.transitions_per_task = None: a part of the data needs its size, and 'all' has none",
  ),
  case(
    "the size of a part for all data",
    "--config.dataset.transitions_per_task=100",
    "config.dataset.quality = 'all' with config.dataset.transitions_per_task = 100: a part of the data needs its size, and 'all' has none",
  ),
  case(
    "a part larger than the data",
    "--config.dataset.quality=end --config.dataset.transitions_per_task=30000",
    "config.dataset.transitions_per_task = 30000: task 0 of the dataset has 20000",
  ),
  case(
    "an unknown split",
    "--config.dataset.split=random",
    "config.dataset.split = 'random': expected one of in_distribution, extrapolation",
  ),
  case(
    "a split that the family does not have",
    "--config.dataset.split=extrapolation",
    "config.dataset.split = 'extrapolation': family 'cheetah_dir' has no such split",
  ),
  case(
    "data that are not there",
    "--config.dataset.directory=data/missing",
    "config.dataset.directory = 'data/missing': no dataset there. Starter data in this directory: starter_data/cheetah_dir. To collect a full dataset: python -m experiments.collect --config=configs/collect/<family>.py (families: ant_dir, ant_dir_forward, ant_goal, cheetah_dir, cheetah_vel, hopper_params, humanoid_dir, point_robot, point_robot_sparse, point_robot_wind, walker_params)",
  ),
  case(
    "a manifest that is no JSON",
    "--config.dataset.directory=data/no_json",
    "data/no_json/manifest.json: expected JSON in UTF-8, got JSONDecodeError: Expecting value: line 1 column 1 (char 0)",
  ),
  case(
    "a manifest with wrong fields",
    "--config.dataset.directory=data/with_wrong_fields",
    "data/with_wrong_fields/manifest.json: key 'horizon': expected an integer of at least 1, got 0",
    "data/with_wrong_fields/manifest.json: key 'discount': expected a number above 0 and at most 1, got 1.5",
  ),
  case(
    "a dataset of an unknown family",
    "--config.dataset.directory=data/of_no_family",
    "data/of_no_family: No task family is called 'snake'; known: ant_dir, ant_dir_forward, ant_goal, cartpole_bias, cheetah_dir, cheetah_swapped, cheetah_vel, hopper_params, humanoid_dir, point_robot, point_robot_sparse, point_robot_wind, point_rotated, point_rotated_sparse, walker_params.",
  ),
  case(
    "a dataset of other sizes than its family",
    "--config.dataset.directory=data/of_other_sizes",
    "data/of_other_sizes: the dataset's observation_size is 20, that of its family 'point_robot' is 2",
    "data/of_other_sizes: the dataset's action_size is 6, that of its family 'point_robot' is 2",
  ),
  case(
    "a dataset whose tasks are not its family's",
    "--config.dataset.directory=data/of_another_family",
    "data/of_another_family: the manifest's task 0 has the parameters {'direction': 1.0}; family 'cheetah_vel' expects {'velocity': ()} (name and shape)",
  ),
  case(
    "a dataset that names no tasks",
    "--config.dataset.directory=data/without_tasks",
    "data/without_tasks: its manifest names no train tasks",
    "data/without_tasks: its manifest names no test tasks",
  ),
  case(
    "a dataset that lacks a file",
    "--config.dataset.directory=data/without_a_file",
    "data/without_a_file: expected the 2 task files of the manifest; missing ['task_01.npz'], unknown []",
  ),
  case(
    "more transitions than a task has",
    "--config.training.support_size=19999",
    "config.training.support_size = 19999 and config.training.query_size = 256 take 20255 transitions of a task: task 0 has 20000",
  ),
  case(
    "more than are left after skipping",
    "--config.dataset.skip=100",
    "config.training.support_size = 256 and config.training.query_size = 256 take 512 transitions of a task: task 0 has 200",
    "config.evaluation.support_size = 256: an evaluation support of 256 transitions: task 0 (test) has 200",
  ),
  case(
    "a support larger than a task",
    "--config.evaluation.support_size=20001",
    "config.evaluation.support_size = 20001: an evaluation support of 20001 transitions: task 0 (test) has 20000",
  ),
  case(
    "more training tasks than there are",
    "--config.evaluation.train_tasks=3",
    "config.evaluation.train_tasks = 3: the dataset has 2 training tasks",
  ),
  case(
    "supports that were not collected",
    "--config.evaluation.support=other_policies",
    "config.evaluation.support = 'other_policies': no dataset at starter_data/cheetah_dir_other_policies; experiments.collect writes it beside the family's own data",
  ),
  case(
    "supports of another family",
    "--config.dataset.directory=data/whole --config.evaluation.support=other_policies",
    "data/whole_other_policies: expected task 1 of family 'cheetah_dir', got 2 tasks of 'snake'",
  ),
  case(
    "a kind of support that there is not",
    "--config.evaluation.support=best",
    "config.evaluation.support = 'best': expected one of own, other_policies, random, online",
  ),
  case(
    "episodes that inner steps cannot share",
    "--config.evaluation.support=online --config.algorithm.inner_steps=256",
    "an online support: an episode has 200 steps, fewer than the 256 inner steps that share it",
  ),
  case(
    "a temperature of zero", "--config.algorithm.temperature=0", "config.algorithm.temperature = 0.0: must be positive"
  ),
  case(
    "a negative learning rate",
    "--config.algorithm.value_learning_rate=-0.001",
    "config.algorithm.value_learning_rate = -0.001: must not be negative",
  ),
  case(
    "not a number",
    "--config.algorithm.policy_learning_rate=nan",
    "config.algorithm.policy_learning_rate = nan: expected a finite number",
  ),
  case(
    "a width of zero",
    "--config.algorithm.hidden_sizes=(100,0)",
    "config.algorithm.hidden_sizes = (100, 0): must be one or more positive widths",
  ),
  case(
    "an unknown layer",
    "--config.algorithm.layer=sparse",
    "config.algorithm.layer = 'sparse': unknown; choose one of bias_transform, dense, weight_transform",
  ),
  case(
    "an unknown target",
    "--config.algorithm.advantage_target=best",
    "config.algorithm.advantage_target = 'best': target 'best' is unknown; choose monte_carlo, bootstrapped or td_lambda",
  ),
  case(
    "TD(lambda) on shuffled rows",
    "--config.algorithm.outer_value_target=td_lambda",
    "config.algorithm.outer_value_target = 'td_lambda' needs consecutive transitions: set config.training.order and config.evaluation.order to 'contiguous'",
  ),
  case("a lambda above one", "--config.algorithm.lambda_=1.5", "config.algorithm.lambda_ = 1.5: must lie in [0, 1]"),
  case(
    "a slow copy that grows",
    "--config.algorithm.ema_decay=1.5",
    "config.algorithm.ema_decay = 1.5: must lie in [0, 1]",
  ),
  case("no inner steps", "--config.algorithm.inner_steps=0", "config.algorithm.inner_steps = 0: must be at least 1"),
  case(
    "supports that inner steps cannot share",
    "--config.algorithm.inner_steps=3",
    "config.training.support_size = 256 is not a multiple of config.algorithm.inner_steps = 3: each inner step takes an equal share of the support",
    "config.evaluation.support_size = 256 is not a multiple of config.algorithm.inner_steps = 3: each inner step takes an equal share of the support",
  ),
  case(
    "a support that cannot be halved",
    "--config=configs/focal.py --config.training.support_size=1",
    "config.training.support_size = 1: focal halves a support; expected at least 2",
  ),
  case(
    "more contrasts than a support has pairs",
    "--config=configs/corro.py --config.algorithm.queries_per_task=129 --config.training.support_size=256",
    "config.algorithm.queries_per_task = 129: expected at most half of config.training.support_size = 256",
  ),
  case(
    "a task dropout of one",
    "--config=configs/multitask_bc.py --config.algorithm.name=multitask_awr --config.algorithm.task_dropout=1",
    "config.algorithm.task_dropout = 1.0: must lie in [0, 1)",
  ),
  case(
    "hyper-parameters that an algorithm does not have",
    "--config=configs/multitask_awr.py --config.algorithm.name=multitask_bc",
    "config.algorithm.advantage_target is no hyper-parameter of multitask_bc",
    "config.algorithm.fine_tune_value_learning_rate is no hyper-parameter of multitask_bc; did you mean config.algorithm.fine_tune_policy_learning_rate?",
    "config.algorithm.lambda_ is no hyper-parameter of multitask_bc",
    "config.algorithm.max_weight is no hyper-parameter of multitask_bc",
    "config.algorithm.temperature is no hyper-parameter of multitask_bc",
    "config.algorithm.value_learning_rate is no hyper-parameter of multitask_bc; did you mean config.algorithm.policy_learning_rate?",
    "config.algorithm.value_target is no hyper-parameter of multitask_bc",
  ),
  case(
    "many hyper-parameters",
    "--config.algorithm.standard_deviation=0 --config.algorithm.inner_policy_step_size=-0.1 --config.algorithm.max_weight=0.5 --config.algorithm.decay_steps=0 --config.algorithm.remat=all",
    "config.algorithm.decay_steps = 0: must be at least 1",
    "config.algorithm.inner_policy_step_size = -0.1: must be positive",
    "config.algorithm.max_weight = 0.5: must be at least 1",
    "config.algorithm.remat = 'all': unknown; choose one of inner_steps, nothing",
    "config.algorithm.standard_deviation = 0.0: must be positive",
  ),
  case(
    "a grid without values",
    "--config.population.grid=temperature",
    "config.population.grid: 'temperature': expected <name>=<value>,<value>,...",
  ),
  case(
    "a grid with several faults",
    "--config.population.grid=heat=1;temperature=warm,1;layer=dense;first_order=2",
    "config.population.grid: config.algorithm has no field 'heat'",
    "config.population.grid: temperature=warm: expected a number",
    "config.population.grid: config.algorithm.layer = 'weight_transform' decides the shape of the program, which members share; only numbers with a fraction and switches that do not can differ. Start a run for each value",
    "config.population.grid: first_order=2: expected true or false",
  ),
  case(
    "a grid of values that the algorithm refuses",
    "--config.population.grid=temperature=1,-1;lambda_=0.9,2",
    "config.population.grid: temperature=-1.0 must be positive",
    "config.population.grid: lambda_=2.0 must lie in [0, 1]",
  ),
  case(
    "a grid of a switch that decides sizes",
    "--config=configs/focal.py --config.population.grid=next_observation=true,false;temperature=1,2",
    "config.population.grid: config.algorithm.next_observation = True decides the shape of the program, which members share; only numbers with a fraction and switches that do not can differ. Start a run for each value",
  ),
  case(
    "a grid of what another actor-critic reads",
    "--config=configs/focal.py --config.algorithm.core=sac --config.population.grid=expectile=0.7,0.9",
    "config.population.grid: expectile is not read with config.algorithm.core = 'sac'; members would be identical",
  ),
  case(
    "a grid of what other choices make useless",
    "--config=configs/corro.py --config.algorithm.core=brac --config.algorithm.negatives=generator --config.population.grid=reward_noise=1,2;penalty_rate=0.1,1",
    "config.population.grid: reward_noise is not read with config.algorithm.negatives = 'generator'; members would be identical",
    "config.population.grid: penalty_rate is not read with config.algorithm.divergence_target = None; members would be identical",
  ),
  case(
    "a value twice in a grid",
    "--config.population.grid=temperature=1,1.0",
    "config.population.grid: temperature has a value twice",
  ),
  case(
    "seeds beyond the last",
    "--config.seed=4294967290 --config.population.seeds=8",
    "config.population.seeds = 8: the last seed would be 4294967297, above 2^32 - 1",
  ),
  case(
    "devices that do not divide",
    "--config.population.seeds=6 --config.devices.seed=4 --config.devices.task=3",
    "config.devices.seed = 4 does not divide the 6 members of the population (config.population); choose 1, 2, 3, 6",
    "config.devices.task = 3 does not divide the 2 tasks of an update (config.training.tasks_per_update); choose 1, 2",
  ),
  case("no devices", "--config.devices.seed=0", "config.devices.seed = 0: expected an integer of at least 1"),
  case(
    "a file in the way",
    "--config.output_directory=notes.txt",
    "config.output_directory: notes.txt is a file; expected a place for the folder notes.txt",
  ),
  case(
    "a file in the way of a folder",
    "--config.output_directory=notes.txt/run",
    "config.output_directory: notes.txt is a file; expected a place for the folder notes.txt/run",
  ),
  case(
    "wrong from end to end",
    "--config.training.steps=-5 --config.training.order=sorted --config.dataset.directory=data/missing --config.algorithm.temperature=0 --config.evaluation.episodes=0 --config.population.seeds=0 --config.output_directory=notes.txt",
    "config.training.steps = -5: expected an integer of at least 1",
    "config.training.order = 'sorted': expected one of uniform, contiguous, contiguous_support",
    "config.evaluation.episodes = 0: expected an integer of at least 1",
    "config.population.seeds = 0: expected an integer from 1 to 10000",
    "config.algorithm.temperature = 0.0: must be positive",
    "config.dataset.directory = 'data/missing': no dataset there. Starter data in this directory: starter_data/cheetah_dir. To collect a full dataset: python -m experiments.collect --config=configs/collect/<family>.py (families: ant_dir, ant_dir_forward, ant_goal, cheetah_dir, cheetah_vel, hopper_params, humanoid_dir, point_robot, point_robot_sparse, point_robot_wind, walker_params)",
    "config.output_directory: notes.txt is a file; expected a place for the folder notes.txt",
  ),
]


# Of runs on episodes that they act themselves.
CASES += [
  case(
    "an algorithm that acts, on a dataset",
    "--config.algorithm.name=norml",
    "config.algorithm.name = 'norml': expected one of macaw, maml_awr, multitask_awr, multitask_bc, pearl, pearl_offline, focal, unicorn, csro, corro",
  ),
  case(
    "an algorithm of data, where it is to act",
    f"{NORML} --config.algorithm.name=macaw",
    "config.algorithm.name = 'macaw': expected one of maml_rl, norml, reptile",
  ),
  case(
    "a dataset for a run that acts",
    "--config=two_kinds.py",
    "config.dataset is unknown; config has algorithm, rollouts, evaluation, population, seed, output_directory, training, devices",
  ),
  case(
    "an update of more tasks than there are, and an evaluation",
    f"{NORML}:cheetah_swapped --config.rollouts.tasks_per_update=5 --config.evaluation.tasks=3",
    "config.rollouts.tasks_per_update = 5: family 'cheetah_swapped' has 4 training tasks, and those of an update are distinct",
    "config.evaluation.tasks = 3: family 'cheetah_swapped' has 2 test tasks",
  ),
  case(
    "episodes longer than the family's",
    f"{NORML} --config.rollouts.horizon=11 --config.evaluation.horizon=12",
    "config.rollouts.horizon = 11: episodes of family 'point_rotated' have at most 10 steps",
    "config.evaluation.horizon = 12: episodes of family 'point_rotated' have at most 10 steps",
  ),
  case(
    "more episodes to count than to adapt to",
    f"{NORML} --config.rollouts.episodes=3",
    "config.evaluation.episodes = 4: expected at most config.evaluation.support_episodes = 3, the episodes that the agent before adaptation is judged by",
  ),
  case(
    "no test task to evaluate",
    f"{NORML} --config.evaluation.tasks=0",
    "config.evaluation.tasks = 0: expected an integer of at least 1",
  ),
  case(
    "updates that are no multiple of a call's",
    f"{NORML} --config.training.evaluate_every=50",
    "config.training.evaluate_every = 50 is not a multiple of config.training.log_every = 20, the number of updates in one compiled call",
  ),
  case(
    "an arm that is not there, and one twice",
    f"{NORML} --config.population.variants=maml,mamml,norml,maml",
    "config.population.variants: 'mamml': expected all, or names in config.variants: domain_randomisation, maml, maml_offset, norml, norml_without_offset",
    "config.population.variants: maml is there 2 times",
  ),
  case(
    "arms and a grid",
    f"{NORML} --config.population.variants=all --config.population.grid=learning_rate=0.1,0.2",
    "config.population: expected arms or grid, found both",
  ),
  case(
    "arms of other programs side by side",
    "--config=configs/maml_rl.py --config.population.variants=all",
    "config.population.variants: config.variants.e_maml.epochs = 1 decides the shape of the program, which members share; only numbers with a fraction and switches that do not can differ. Start a run for each value",
    "config.population.variants: config.variants.e_maml.surrogate = 'log_prob' decides the shape of the program, which members share; only numbers with a fraction and switches that do not can differ. Start a run for each value",
  ),
  case(
    "values that those of the chosen arms take the place of",
    f"{NORML} --config.population.variants=maml,norml --config.algorithm.step_size=0.5 --config.algorithm.clip=0.1",
    "command line: config.algorithm.step_size: config.variants.maml.step_size, config.variants.norml.step_size take its place; set those",
  ),
  case(
    "arms where there are none",
    "--config=configs/reptile.py --config.population.variants=all",
    "config.population.variants = 'all': config.variants has none",
  ),
  case(
    "an arm with a value that is refused",
    f"{NORML} --config.variants.maml.learning_rate=-1",
    "config.variants.maml.learning_rate = -1.0: must not be negative",
  ),
  case(
    "arms with values of other types",
    "--config=other_arms.py",
    "config.variants.domain_randomisation = 0: expected hyper-parameters, as config.variants.domain_randomisation.learning_rate",
    "config.variants.maml.clipp is no hyper-parameter of norml; did you mean config.variants.maml.clip?",
    "config.variants.norml.initial_log_std = None: expected a finite number",
    "config.variants.norml.offset = 'yes': expected True or False",
  ),
  case(
    "arms that do not name the same",
    "--config=unlike_arms.py --config.population.variants=maml,norml",
    "config.population.variants: config.variants.maml lacks offset, which another of the arms has",
    "config.population.variants: config.variants.norml lacks clip, which another of the arms has",
  ),
  case(
    "text for the arms, and a misspelt field",
    "--config=no_arms.py --config.population.variants=norml",
    "config.rollouts.horizons is unknown; did you mean config.rollouts.horizon?",
    "config.variants = 'all': expected a section for each arm",
  ),
  case(
    "devices that do not divide tasks or members",
    f"{NORML} --config.devices.task=3 --config.devices.seed=2",
    "config.devices.seed = 2 does not divide the 1 members of the population (config.population); choose 1",
    "config.devices.task = 3 does not divide the 10 tasks of an update (config.rollouts.tasks_per_update); choose 1, 2, 5, 10",
  ),
]


def page() -> str:
  """The table in Markdown."""
  lines = [
    "# Configurations that cannot be run",
    "",
    "A configuration is checked as a whole before anything is compiled, before any array is loaded and before any",
    "directory is made. Every problem is one line on the error output, behind `error: `, and the exit code is 2. What",
    "follows from a problem already named is no line of its own.",
    "",
    f"{len(CASES)} command lines behind `python -m experiments.run`, each with all that is said. The page is written by",
    "`python tests/experiments/wrong_configurations.py > docs/wrong_configurations.md`, and every case is a test;",
    "`write_workspace` in that file makes the configurations and datasets that are not in this repository.",
    "",
    "| what is wrong | command line | what is said |",
    "|---|---|---|",
  ]
  for what, arguments, said in CASES:
    cells = (what, f"`{_shown(arguments)}`", "<br>".join(f"`{line}`" for line in said))
    lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
  return "\n".join(lines) + "\n"


def _shown(arguments: tuple[str, ...]) -> str:
  return " ".join(each for each in arguments if each != MACAW) or "(nothing)"


if __name__ == "__main__":
  print(page(), end="")
