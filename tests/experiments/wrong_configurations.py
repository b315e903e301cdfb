"""Configurations that cannot be run, and what is named; `docs/wrong_configurations.md` shows what is said of them.

python tests/experiments/wrong_configurations.py > docs/wrong_configurations.md
"""

# ruff: noqa: E501  (a command is one line)

import json
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from experiments.build import examine
from experiments.config_file import make_config, take_overrides
from macaw_jax.data.manifest import document_digest
from macaw_jax.errors import ConfigurationError

REPOSITORY = Path(__file__).parents[2]
STARTER = REPOSITORY / "starter_data" / "cheetah_dir"
MACAW = "--config=configs/macaw.py"
NORML = "--config=configs/norml.py"
RL2 = "--config=configs/rl2.py"
DISTRAL = "--config=configs/distral.py --config.evaluation.support_episodes=8"


class Case:
  """A command line behind `python -m experiments.run`, and for each line that refuses it, the words that it has.

  Args:
    what: is wrong.
    arguments: of MACAW's configuration, or of the one that they name.
    named: the field or the file that each line names, and perhaps a word more.
  """

  def __init__(self, what: str, arguments: str, *named: str):
    given = tuple(arguments.split())
    has_file = any(each.startswith("--config=") for each in given)
    self.what, self.arguments = what, given if has_file else (MACAW, *given)
    self.named = [words.split() for words in named]


def problems_of(arguments: Sequence[str]) -> list[str]:
  """What the command says of its arguments, one line a problem."""
  overrides, others = take_overrides(arguments)
  locations = [each.removeprefix("--config=") for each in others]
  try:
    examine(make_config(locations, overrides, examine))
  except ConfigurationError as error:
    return [" ".join(problem.split()) for problem in error.problems]
  return []


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
    "values['algorithm']['adaptation_steps'] = 1.0",
  ),
  "misspelt.py": edited(
    "values['sead'] = 1",
    "values['training']['batch_size'] = 5",
    "values['algorithm']['tempreature'] = 0.5",
    "values['algorithm']['optimizer'] = 'adam'",
    "values['wandb'] = {'project': 'x'}",
  ),
  "nothing_said.py": edited("values['algorithm'] = {'name': 'macaw'}", "del values['dataset']['split']"),
  "other_variants.py": edited(
    "values['variants']['maml']['clipp'] = 0.1",
    "values['variants']['norml']['offset'] = 'yes'",
    "values['variants']['norml']['initial_log_std'] = None",
    "values['variants']['domain_randomisation'] = 0",
    name="norml",
  ),
  "unlike_variants.py": edited(
    "del values['variants']['maml']['offset']", "values['variants']['maml']['clip'] = 0.1", name="norml"
  ),
  "no_variants.py": edited("values['variants'] = 'all'", "values['rollouts']['horizons'] = 5", name="norml"),
  "two_kinds.py": edited("values['dataset'] = {'directory': 'starter_data/cheetah_dir'}", name="norml"),
}

# Datasets that are not as they should be, by what differs from the starter data's manifest.
MANIFESTS = {
  "of_no_family": {"family": "snake"},
  "of_another_family": {"family": "cheetah_vel"},
  "of_other_sizes": {"family": "point_robot"},
  "without_tasks": {"train_tasks": [], "test_tasks": []},
  "with_one_training_task": {"train_tasks": [0], "test_tasks": [1]},
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
  Case("a value below its range", "--config.training.steps=0", "config.training.steps"),
  Case("a negative seed", "--config.seed=-1", "config.seed"),
  Case("a seed beyond 32 bits", "--config.seed=4294967296", "config.seed"),
  Case("text for an integer", "--config.training.steps=abc", "--config.training.steps"),
  Case("a fraction for an integer", "--config.training.steps=1.5", "--config.training.steps"),
  Case("text for a number", "--config.algorithm.temperature=warm", "--config.algorithm.temperature"),
  Case("text for a switch", "--config.algorithm.first_order=maybe", "--config.algorithm.first_order"),
  Case("text for sizes", "--config.algorithm.hidden_sizes=wide", "--config.algorithm.hidden_sizes"),
  Case("a value for a whole section", "--config.training=5", "--config.training"),
  Case("a misspelt field", "--config.training.step=4", "'training.step' config.training.steps?"),
  Case("a misspelt section", "--config.trainin.steps=4", "'trainin.steps' config.training?"),
  Case("a field inside a field", "--config.seed.value=4", "'seed.value'"),
  Case("a field without its value", "--config.seed", "--config.seed"),
  Case(
    "several overrides wrong, and a value",
    "--config.training.steps=abc --config.sead=1 --config.algorithm.lamda=0.9 --config.algorithm.temperature=0",
    "--config.training.steps",
    "'sead' config.seed?",
    "'algorithm.lamda' config.algorithm.lambda_?",
    "config.algorithm.temperature",
  ),
  Case("no configuration", "--config=", "--config=configs/<name>.py"),
  Case(
    "a configuration twice",
    "--config=configs/macaw.py --config=configs/maml_awr.py",
    "configs/macaw.py configs/maml_awr.py",
  ),
  Case(
    "fields twice",
    "--config.seed=1 --config.training.steps=100 --config.seed=2 --config.training.steps 200 --config.seed=1",
    "--config.seed 1, 2, 1",
    "--config.training.steps 100, 200",
  ),
  Case("a file that is not there", "--config=configs/mecaw.py", "--config=configs/mecaw.py"),
  Case("a folder for a file", "--config=configs", "--config=configs"),
  Case("a file with a syntax error", "--config=syntax.py", "--config=syntax.py line 1: SyntaxError"),
  Case("a file without get_config", "--config=empty.py", "--config=empty.py"),
  Case("a get_config that raises", "--config=raises.py", "--config=raises.py line 2: ZeroDivisionError"),
  Case(
    "a file that imports what is not installed",
    "--config=imports.py",
    "--config=imports.py line 1: ModuleNotFoundError",
  ),
  Case("a get_config that returns nothing", "--config=returns_none.py", "--config=returns_none.py"),
  Case(
    "an argument for a get_config without", "--config=no_argument.py:cheetah_vel", "--config=no_argument.py:cheetah_vel"
  ),
  Case("no argument for a get_config with one", "--config=needs_argument.py", "--config=needs_argument.py"),
  Case("a family whose data are not there", "--config=configs/macaw.py:cheetah_vel", "config.dataset.directory"),
  Case(
    "a family that is unknown",
    "--config=configs/macaw.py:unknown_family",
    "'unknown_family' data/unknown_family cheetah_vel",
  ),
  Case(
    "a section that is missing",
    "--config=no_devices.py",
    "config.devices.seed missing",
    "config.devices.task missing",
    "config.devices.distributed missing",
  ),
  Case("a number for a section", "--config=no_section.py", "config.seed missing", "config.evaluation"),
  Case(
    "values of other types",
    "--config=of_other_types.py",
    "config.seed",
    "config.training.steps",
    "config.devices.distributed",
    "config.algorithm.adaptation_steps",
    "config.algorithm.first_order",
    "config.algorithm.hidden_sizes",
    "config.algorithm.layer",
    "config.algorithm.temperature",
  ),
  Case(
    "fields that are unknown",
    "--config=misspelt.py",
    "config.sead config.seed?",
    "config.training.batch_size unknown",
    "config.wandb unknown",
    "config.algorithm.optimizer setting",
    "config.algorithm.tempreature config.algorithm.temperature?",
  ),
  Case(
    "a field that is missing, and settings left at their defaults",
    "--config=nothing_said.py",
    "config.dataset.split missing",
  ),
  Case("steps that are no multiple", "--config.training.steps=5050", "config.training.steps"),
  Case(
    "several that are no multiple",
    "--config.training.log_every=300",
    "config.training.steps",
    "config.training.evaluate_every",
    "config.training.checkpoint_every",
  ),
  Case("fewer checkpoints than one", "--config.training.keep_checkpoints=0", "config.training.keep_checkpoints"),
  Case("skips that never end", "--config.training.max_skips_in_a_row=0", "config.training.max_skips_in_a_row"),
  Case("an unknown algorithm", "--config.algorithm.name=macaws", "config.algorithm.name"),
  Case(
    "an unknown order of rows",
    "--config.training.order=sorted --config.evaluation.order=contiguous_support",
    "config.training.order",
    "config.evaluation.order",
  ),
  Case("an unknown engine", "--config.evaluation.engine=brax", "config.evaluation.engine"),
  Case("a part of the data without its size", "--config.dataset.quality=end", "config.dataset.quality"),
  Case("the size of a part for all data", "--config.dataset.transitions_per_task=100", "config.dataset.quality"),
  Case(
    "a part larger than the data",
    "--config.dataset.quality=end --config.dataset.transitions_per_task=30000",
    "config.dataset.transitions_per_task",
  ),
  Case("more training tasks than there are", "--config.dataset.train_tasks=3", "config.dataset.train_tasks"),
  Case(
    "supports of a part of other policies' data",
    "--config.evaluation.quality=start --config.evaluation.support=random",
    "config.evaluation.quality",
  ),
  Case(
    "a part that is too small for ten supports",
    "--config.evaluation.quality=start --config.evaluation.support_size=2001",
    "config.evaluation.quality",
  ),
  Case(
    "own episodes to learn from after none that are recorded",
    "--config.evaluation.own_episodes=5 --config.evaluation.support=online",
    "config.evaluation.own_episodes",
  ),
  Case(
    "own episodes for an agent that does not learn from them",
    "--config=configs/focal.py --config.evaluation.own_episodes=5",
    "config.evaluation.own_episodes",
  ),
  Case("a task that is shown in no known way", "--config.dataset.shown_task=name", "config.dataset.shown_task"),
  Case(
    "a gradient surgery that there is not",
    "--config.algorithm.gradient_surgery=best",
    "config.algorithm.gradient_surgery",
  ),
  Case("an unknown scaling", "--config.dataset.scaling=raw", "config.dataset.scaling"),
  Case(
    "released code that there is none of", "--config=configs/released.py:macow", "--config=configs/released.py:macow"
  ),
  Case(
    "queries that the steps of released code cannot share",
    "--config=configs/released.py:focal --config.training.query_size=256",
    "config.training.query_size",
  ),
  Case("an unknown split", "--config.dataset.split=random", "config.dataset.split"),
  Case("a split that the family does not have", "--config.dataset.split=extrapolation", "config.dataset.split"),
  Case("data that are not there", "--config.dataset.directory=data/missing", "config.dataset.directory"),
  Case("a manifest that is no JSON", "--config.dataset.directory=data/no_json", "data/no_json/manifest.json"),
  Case(
    "a manifest with wrong fields",
    "--config.dataset.directory=data/with_wrong_fields",
    "data/with_wrong_fields/manifest.json 'horizon'",
    "data/with_wrong_fields/manifest.json 'discount'",
  ),
  Case("a dataset of an unknown family", "--config.dataset.directory=data/of_no_family", "data/of_no_family"),
  Case(
    "a dataset of other sizes than its family",
    "--config.dataset.directory=data/of_other_sizes",
    "data/of_other_sizes observation_size",
    "data/of_other_sizes action_size",
  ),
  Case(
    "a dataset whose tasks are not its family's",
    "--config.dataset.directory=data/of_another_family",
    "data/of_another_family",
  ),
  Case(
    "a dataset that names no tasks",
    "--config.dataset.directory=data/without_tasks",
    "data/without_tasks train",
    "data/without_tasks test",
  ),
  Case(
    "a dataset that lacks a file", "--config.dataset.directory=data/without_a_file", "data/without_a_file task_01.npz"
  ),
  Case("more transitions than a task has", "--config.training.support_size=19999", "config.training.support_size"),
  Case(
    "more than are left after skipping",
    "--config.dataset.skip=100",
    "config.training.support_size",
    "config.evaluation.support_size",
  ),
  Case("a support larger than a task", "--config.evaluation.support_size=20001", "config.evaluation.support_size"),
  Case("more training tasks than there are", "--config.evaluation.train_tasks=3", "config.evaluation.train_tasks"),
  Case("supports that were not collected", "--config.evaluation.support=other_policies", "config.evaluation.support"),
  Case(
    "supports of policies halfway through training that were not collected",
    "--config.evaluation.support=other_policies_middle",
    "config.evaluation.support cheetah_dir_other_policies_middle",
  ),
  Case(
    "supports of another family",
    "--config.dataset.directory=data/whole --config.evaluation.support=other_policies",
    "data/whole_other_policies",
  ),
  Case("a kind of support that there is not", "--config.evaluation.support=best", "config.evaluation.support"),
  Case(
    "episodes that inner steps cannot share",
    "--config.evaluation.support=online --config.algorithm.adaptation_steps=256",
    "config.evaluation.support",
  ),
  Case(
    "retrieved rows for targets that need consecutive ones",
    "--config.retrieval.enabled --config.algorithm.outer_value_target=td_lambda --config.training.order=contiguous --config.evaluation.order=contiguous",
    "config.retrieval.enabled consecutive",
  ),
  Case(
    "retrieved rows that inner steps cannot share",
    "--config.retrieval.enabled --config.algorithm.adaptation_steps=2 --config.retrieval.rows=1023",
    "config.retrieval.rows 1023 multiple of 2",
  ),
  Case(
    "retrieval from one training task",
    "--config.retrieval.enabled --config.dataset.directory=data/with_one_training_task",
    "config.retrieval.enabled one",
  ),
  Case(
    "a retrieval wrong from end to end",
    "--config.retrieval.draw=mode --config.retrieval.rows=0 --config.retrieval.rows_per_task=0",
    "config.retrieval.rows",
    "config.retrieval.rows_per_task",
    "config.retrieval.draw mean, sample",
  ),
  Case("retrieval for a run that acts", f"{NORML} --config.retrieval.enabled", "'retrieval.enabled'"),
  Case("a temperature of zero", "--config.algorithm.temperature=0", "config.algorithm.temperature"),
  Case(
    "a negative learning rate", "--config.algorithm.value_learning_rate=-0.001", "config.algorithm.value_learning_rate"
  ),
  Case("not a number", "--config.algorithm.policy_learning_rate=nan", "config.algorithm.policy_learning_rate"),
  Case("a width of zero", "--config.algorithm.hidden_sizes=(100,0)", "config.algorithm.hidden_sizes"),
  Case("an unknown layer", "--config.algorithm.layer=sparse", "config.algorithm.layer"),
  Case("an unknown target", "--config.algorithm.advantage_target=best", "config.algorithm.advantage_target"),
  Case("TD(lambda) on shuffled rows", "--config.algorithm.outer_value_target=td_lambda", "config.algorithm"),
  Case("a lambda above one", "--config.algorithm.lambda_=1.5", "config.algorithm.lambda_"),
  Case("a decay above one", "--config.algorithm.ema_decay=1.5", "config.algorithm.ema_decay"),
  Case("no inner steps", "--config.algorithm.adaptation_steps=0", "config.algorithm.adaptation_steps"),
  Case(
    "supports that inner steps cannot share",
    "--config.algorithm.adaptation_steps=3",
    "config.training.support_size",
    "config.evaluation.support_size",
  ),
  Case(
    "a support that cannot be halved",
    "--config=configs/focal.py --config.training.support_size=1",
    "config.training.support_size",
  ),
  Case(
    "more contrasts than a support has pairs",
    "--config=configs/corro.py --config.algorithm.encoder.queries_per_task=129 --config.training.support_size=256",
    "config.training.support_size",
  ),
  Case(
    "a task dropout of one",
    "--config=configs/multitask_bc.py --config.algorithm.name=multitask_awr --config.algorithm.task_dropout=1",
    "config.algorithm.task_dropout",
  ),
  Case(
    "settings that an algorithm does not have",
    "--config=configs/multitask_awr.py --config.algorithm.name=multitask_bc",
    "config.algorithm.advantage_target setting",
    "config.algorithm.fine_tune_policy_learning_rate None",
    "config.algorithm.fine_tune_value_learning_rate config.algorithm.fine_tune_policy_learning_rate?",
    "config.algorithm.lambda_ setting",
    "config.algorithm.max_weight setting",
    "config.algorithm.temperature setting",
    "config.algorithm.value_learning_rate config.algorithm.policy_learning_rate?",
    "config.algorithm.value_target setting",
  ),
  Case(
    "many settings",
    "--config.algorithm.standard_deviation=0 --config.algorithm.inner_policy_step_size=-0.1 --config.algorithm.max_weight=0.5 --config.algorithm.decay_steps=0 --config.algorithm.remat=all",
    "config.algorithm.decay_steps",
    "config.algorithm.inner_policy_step_size",
    "config.algorithm.max_weight",
    "config.algorithm.remat",
    "config.algorithm.standard_deviation",
  ),
  Case("a grid without values", "--config.population.grid=temperature", "config.population.grid temperature"),
  Case(
    "a grid with several faults",
    "--config.population.grid=heat=1;temperature=warm,1;layer=dense;first_order=2",
    "config.population.grid 'heat'",
    "config.population.grid temperature=warm",
    "config.population.grid config.algorithm.layer",
    "config.population.grid first_order=2",
  ),
  Case(
    "a grid of values that the algorithm refuses",
    "--config.population.grid=temperature=1,-1;lambda_=0.9,2",
    "config.population.grid temperature=-1.0",
    "config.population.grid lambda_=2.0",
  ),
  Case(
    "a grid of a switch that decides sizes",
    "--config=configs/focal.py --config.population.grid=encoder.next_observation=true,false;actor_critic.temperature=1,2",
    "config.population.grid config.algorithm.encoder.next_observation",
  ),
  Case(
    "a grid of what another actor-critic reads",
    "--config=configs/focal.py --config.algorithm.actor_critic.name=sac --config.population.grid=actor_critic.expectile=0.7,0.9",
    "config.population.grid actor_critic.expectile",
  ),
  Case("a value twice in a grid", "--config.population.grid=temperature=1,1.0", "config.population.grid temperature"),
  Case("seeds beyond the last", "--config.seed=4294967290 --config.population.seeds=8", "config.population.seeds"),
  Case(
    "devices that do not divide",
    "--config.population.seeds=6 --config.devices.seed=4 --config.devices.task=3",
    "config.devices.seed",
    "config.devices.task",
  ),
  Case("no devices", "--config.devices.seed=0", "config.devices.seed"),
  Case("a file in the way", "--config.output_directory=notes.txt", "config.output_directory"),
  Case("a file in the way of a folder", "--config.output_directory=notes.txt/run", "config.output_directory"),
  Case(
    "wrong from end to end",
    "--config.training.steps=-5 --config.training.order=sorted --config.dataset.directory=data/missing --config.algorithm.temperature=0 --config.evaluation.episodes=0 --config.population.seeds=0 --config.output_directory=notes.txt",
    "config.training.steps",
    "config.evaluation.episodes",
    "config.population.seeds",
    "config.training.order",
    "config.algorithm.temperature",
    "config.dataset.directory",
    "config.output_directory",
  ),
  Case("an algorithm that acts, on a dataset", "--config.algorithm.name=norml", "config.algorithm.name"),
  Case("an algorithm of data, where it is to act", f"{NORML} --config.algorithm.name=macaw", "config.algorithm.name"),
  Case("a dataset for a run that acts", "--config=two_kinds.py", "config"),
  Case("a family to act in that is unknown", f"{NORML} --config.rollouts.family=snake", "config.rollouts.family"),
  Case(
    "an update of more tasks than there are, and an evaluation",
    f"{NORML}:cheetah_swapped --config.rollouts.tasks_per_update=5 --config.evaluation.tasks=3",
    "config.rollouts.tasks_per_update",
    "config.evaluation.tasks",
  ),
  Case(
    "episodes longer than the family's",
    f"{NORML} --config.rollouts.horizon=11 --config.evaluation.horizon=12",
    "config.rollouts.horizon",
    "config.evaluation.horizon",
  ),
  Case(
    "more episodes to count than to adapt to", f"{NORML} --config.rollouts.episodes=3", "config.evaluation.episodes"
  ),
  Case(
    "episodes beside each other for an agent that remembers",
    f"{RL2} --config.rollouts.episodes=5",
    "config.rollouts.episodes",
  ),
  Case("no inner step", f"{NORML} --config.rollouts.inner_steps=0", "config.rollouts.inner_steps"),
  Case(
    "fewer tasks than minibatches", f"{RL2} --config.rollouts.tasks_per_update=4", "config.rollouts.tasks_per_update"
  ),
  Case(
    "policies of tasks that no observation shows",
    f"{DISTRAL} --config.rollouts.family=maze_8",
    "config.rollouts.family maze_8+task_index",
  ),
  Case(
    "policies of tasks that are not all to train on",
    f"{DISTRAL} --config.rollouts.family=point_robot+task_index --config.rollouts.tasks_per_update=80",
    "config.rollouts.family",
  ),
  Case(
    "policies of more tasks than an update has, and fewer episodes than minibatches",
    f"{DISTRAL} --config.rollouts.tasks_per_update=5 --config.rollouts.episodes=6",
    "config.rollouts.tasks_per_update",
    "config.rollouts.episodes",
  ),
  Case(
    "rows drawn at random for an agent that remembers",
    "--config=configs/rl2_offline.py --config.training.order=uniform",
    "config.algorithm config.training.order",
  ),
  Case(
    "episodes of others beside a part of a collection",
    "--config.dataset.relabelled_episodes=5 --config.dataset.quality=end --config.dataset.transitions_per_task=5000",
    "config.dataset.relabelled_episodes config.dataset.quality",
  ),
  Case("a memory that is unknown", f"{RL2} --config.algorithm.cell.name=lstm", "config.algorithm.cell.name"),
  Case("no test task to evaluate", f"{NORML} --config.evaluation.tasks=0", "config.evaluation.tasks"),
  Case(
    "updates that are no multiple of a call's",
    f"{NORML} --config.training.evaluate_every=50",
    "config.training.evaluate_every",
  ),
  Case(
    "a variant that is not there, and one twice",
    f"{NORML} --config.population.variants=maml,mamml,norml,maml",
    "config.population.variants 'mamml'",
    "config.population.variants maml",
  ),
  Case(
    "variants and a grid",
    f"{NORML} --config.population.variants=all --config.population.grid=learning_rate=0.1,0.2",
    "config.population",
  ),
  Case(
    "variants of other programs side by side",
    "--config=configs/maml_rl.py --config.population.variants=all",
    "config.population.variants config.variants.e_maml.epochs",
    "config.population.variants config.variants.e_maml.inner.surrogate",
  ),
  Case(
    "values that those of the chosen variants take the place of",
    f"{NORML} --config.population.variants=maml,norml --config.algorithm.step_size=0.5 --config.algorithm.clip=0.1",
    "config.algorithm.step_size",
  ),
  Case(
    "variants where there are none",
    "--config=configs/reptile.py --config.population.variants=all",
    "config.population.variants",
  ),
  Case(
    "a variant with a value that is refused",
    f"{NORML} --config.variants.maml.learning_rate=-1",
    "config.variants.maml.learning_rate",
  ),
  Case(
    "variants with values of other types",
    "--config=other_variants.py",
    "config.variants.domain_randomisation",
    "config.variants.maml.clipp config.variants.maml.clip?",
    "config.variants.norml.initial_log_std",
    "config.variants.norml.offset",
  ),
  Case(
    "variants that do not name the same",
    "--config=unlike_variants.py --config.population.variants=maml,norml",
    "config.population.variants config.variants.maml",
    "config.population.variants config.variants.norml",
  ),
  Case(
    "text for the variants, and a misspelt field",
    "--config=no_variants.py --config.population.variants=norml",
    "config.rollouts.horizons config.rollouts.horizon?",
    "config.variants",
  ),
  Case(
    "devices that do not divide tasks or members",
    f"{NORML} --config.devices.task=3 --config.devices.seed=2",
    "config.devices.seed",
    "config.devices.task",
  ),
  # Of runs that collect their own data.
  Case(
    "an algorithm of data, where it is to collect",
    "--config=configs/pearl.py --config.algorithm.name=macaw",
    "config.algorithm.name",
  ),
  Case(
    "a collection wrong from end to end",
    "--config=configs/pearl.py:point_robot_sparse --config.collection.tasks_per_iteration=81 --config.collection.critic_reward=cheetah_dir --config.collection.ignored_observations=(2,) --config.collection.prior_episodes=0 --config.training.steps=50 --config.evaluation.train_tasks=81 --config.algorithm.encoder.kl_weight=-1",
    "config.collection.prior_episodes",
    "config.algorithm.encoder.kl_weight",
    "config.collection.tasks_per_iteration point_robot_sparse",
    "config.evaluation.train_tasks point_robot_sparse",
    "config.collection.critic_reward",
    "config.collection.ignored_observations",
    "config.training.steps config.training.updates_per_iteration",
  ),
]


def rows() -> list[tuple[str, str]]:
  """The first two cells of each row of the page."""
  return [(case.what, " ".join(each for each in case.arguments if each != MACAW) or "(nothing)") for case in CASES]


def page() -> str:
  """The table in Markdown, with what is said of each case."""
  lines = [
    "# Configurations that cannot be run",
    "",
    "A configuration is checked as a whole before anything is compiled, before any array is loaded and before any",
    "directory is made. Every problem is one line on the error output, behind `error: `, and the exit code is 2. What",
    "follows from a problem already named is no line of its own.",
    "",
    f"{len(CASES)} command lines behind `python -m experiments.run`, with what is said of each. The page is written by",
    "`python tests/experiments/wrong_configurations.py > docs/wrong_configurations.md`; every case is a test that asks",
    "for the fields that are named. `write_workspace` in that file makes the configurations and datasets that are not in this",
    "repository.",
    "",
    "| what is wrong | command line | what is said |",
    "|---|---|---|",
  ]
  before = os.getcwd()
  with tempfile.TemporaryDirectory() as directory:
    write_workspace(Path(directory))
    os.chdir(directory)
    try:
      for (what, arguments), case in zip(rows(), CASES, strict=True):
        said = "<br>".join(f"`{line.replace(str(REPOSITORY) + '/', '')}`" for line in problems_of(case.arguments))
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in (what, f"`{arguments}`", said)) + " |")
    finally:
      os.chdir(before)
  return "\n".join(lines) + "\n"


if __name__ == "__main__":
  print(page(), end="")
