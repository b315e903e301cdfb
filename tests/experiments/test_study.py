"""Studies in miniature: trained, stopped and continued, shared by two processes, with a method of one's own."""

import contextlib
import csv
import dataclasses
import io
import json
import shutil
import sys

import filelock
import ml_collections
import pytest

from configs.studies.study import study as make_study
from experiments import study
from experiments.config_file import make_config
from experiments.study_cells import cells_of, populations_of
from macaw_jax.errors import ConfigurationError
from macaw_jax.study.table import LoggedRow, StudyRow, read_table
from macaw_jax.training.interruption import Interruption

MODULE = """
from macaw_jax import multitask_bc

def cloning(problem, *, policy_learning_rate: float = 1e-3, adaptation_steps: int = 2):
  return multitask_bc(
    problem, hidden_sizes=(8,), policy_learning_rate=policy_learning_rate, adaptation_steps=adaptation_steps
  )

def raising(problem):
  raise KeyError("lost")

def forgetting(problem):
  cloning(problem)

number = 5
"""
CHANGES = {
  "training": {"steps": 2, "evaluate_every": 2, "checkpoint_every": 2, "log_every": 2, "support_size": 16},
  "evaluation": {"episodes": 2, "support_size": 16},
}


@pytest.fixture
def place(data, tmp_path, monkeypatch, compiled_once):
  """A working directory with a dataset and a module."""
  shutil.copytree(data, tmp_path / "data" / "point_robot")
  (tmp_path / "own_methods.py").write_text(MODULE)
  monkeypatch.chdir(tmp_path)
  monkeypatch.setattr(sys, "path", list(sys.path))
  yield tmp_path
  sys.modules.pop("own_methods", None)


def miniature(name="mini", **changes):
  """The configuration of a study of two methods."""
  arguments = {
    "title": "A study",
    "question": "Does it run?",
    "methods": ("multitask_bc", "own_methods:cloning"),
    "families": ("point_robot",),
    "evaluations": {"own": {"steps": (0, 1, 3)}},
    "seeds": 2,
  }
  config = make_study(name, **arguments | changes)
  with config.unlocked():
    for section, values in CHANGES.items():
      config.changes[section].update(values)
    config.changes.training.query_size = 16
  return config.lock()


def run(config):
  """The output of a study, whose table it makes."""
  with contextlib.redirect_stdout(io.StringIO()) as said:
    study.run_study(config)
  return said.getvalue()


def table(name="mini"):
  return read_table(study.Path("runs/studies") / name / "results", StudyRow)


def test_a_method_of_ones_own_stands_in_the_table_beside_those_of_the_package(place):
  said = run(miniature())
  rows = table()
  assert "training to update 2" in said
  # Two methods, two seeds, two test tasks, and before adaptation, after one step and after three.
  assert len(rows) == 2 * 2 * 2 * 3
  assert {row.method for row in rows} == {"multitask_bc", "own_methods:cloning"}
  assert {row.stage for row in rows} == {0, 1, 3}
  with open("runs/studies/mini/results.csv", newline="") as file:
    written = list(csv.DictReader(file))
  assert [float(each["return_mean"]) for each in written] == [row.return_mean for row in rows]

  said = run(miniature())
  assert "training" not in said, "what is finished is not trained again"
  assert "step" not in said, "nor evaluated"
  assert table() == rows


def test_seeds_and_settings_that_are_added_are_all_that_is_trained(place):
  settings = {
    "slow": {"algorithm": {"policy_learning_rate": 1e-4}},
    "fast": {"algorithm": {"policy_learning_rate": 1e-2}},
  }
  one = {"methods": ("own_methods:cloning",), "evaluations": {"own": {"steps": (0, 1)}}}
  run(miniature(**one, settings={"slow": settings["slow"]}, seeds=1))
  before = table()
  said = run(miniature(**one, settings=settings, seeds=2))
  assert said.count("training to update") == 2  # both settings with seed 1; "fast" with seed 0
  rows = table()
  assert [row for row in rows if row.setting == "slow" and row.seed == 0] == before
  assert {(row.setting, row.seed) for row in rows} == {(setting, seed) for setting in settings for seed in (0, 1)}


def test_settings_that_are_numbers_are_trained_in_one_program(place):
  settings = {
    "a": {"algorithm": {"policy_learning_rate": 1e-4}},
    "b": {"algorithm": {"policy_learning_rate": 1e-2}},
    "c": {"algorithm": {"policy_learning_rate": 1e-2}, "training": {"support_size": 8}},
  }
  config = miniature(methods=("multitask_bc",), settings=settings)
  cells = cells_of(config)
  populations = populations_of([(cell, seed) for cell in cells for seed in (0, 1, 4)])
  assert [(tuple(cell.setting for cell in each.cells), each.seeds) for each in populations] == [
    (("a", "b"), range(2)),
    (("a", "b"), range(4, 5)),
    (("c",), range(2)),
    (("c",), range(4, 5)),
  ]


def test_a_study_that_was_stopped_ends_in_the_same_table(place, monkeypatch):
  run(miniature())
  expected = (place / "runs/studies/mini/results.json").read_bytes()

  trained = []

  def stops(config, interruption):
    if trained:
      raise KeyboardInterrupt
    trained.append(config)
    return original(config, interruption)

  config = miniature()
  with config.unlocked():
    config.output_directory, config.runs_directory = "runs/studies/again", "runs/again"
  original = study.run_population
  monkeypatch.setattr(study, "run_population", stops)
  with pytest.raises(KeyboardInterrupt):
    run(config)
  monkeypatch.setattr(study, "run_population", original)
  assert not (place / "runs/studies/again/results.json").exists()
  run(config)
  assert (place / "runs/studies/again/results.json").read_bytes() == expected


def test_studies_share_the_runs_that_both_ask_for(place):
  one = {"methods": ("own_methods:cloning",), "evaluations": {"own": {"steps": (0, 1)}}}
  run(miniature(**one, seeds=1))
  said = run(
    miniature(**one, name="other", settings={"same": {}, "shorter": {"training": {"support_size": 8}}}, seeds=1)
  )
  assert said.count("training to update") == 1, "the setting that changes nothing is the cell of the first study"
  same = [row for row in table("other") if row.setting == "same"]
  assert [dataclasses.replace(row, setting="") for row in same] == table()


def test_settings_that_are_equal_are_trained_once_and_stand_twice_in_the_table(place):
  rate = {"algorithm": {"policy_learning_rate": 1e-4}}
  said = run(miniature(methods=("own_methods:cloning",), settings={"one": rate, "other": rate}, figures=("settings",)))
  assert said.count("training to update") == 1
  rows = table()
  assert len(rows) == 2 * 2 * 2 * 3
  assert [dataclasses.replace(row, setting="one") for row in rows if row.setting == "other"] == [
    row for row in rows if row.setting == "one"
  ]
  panel = study.FIGURES["settings"](
    study.Data(rows, [], [], [], {"one": {"rate": 1.0}, "other": {"rate": 1.0}})
  ).panels[0]
  assert panel.categories == ("one", "other")


def test_metrics_of_training_are_kept_by_their_names(place):
  one = {"methods": ("own_methods:cloning",), "seeds": 1, "figures": ("metrics",)}
  with pytest.raises(ConfigurationError, match=r"^config.metrics has lost: no run of the study has logged that$"):
    run(miniature(**one, metrics=("policy_loss", "lost")))
  run(miniature(**one, metrics=("policy_loss",)))
  (row,) = read_table(study.Path("runs/studies/mini/logged"), LoggedRow)
  (directory,) = (each.directory(0) for each in cells_of(miniature(**one)))
  logged = [json.loads(line) for line in (directory / "metrics.jsonl").open()]
  assert [(row.metric, row.update, row.value)] == [
    ("policy_loss", each["step"], each["policy_loss"]) for each in logged if "policy_loss" in each
  ]


def test_a_family_may_have_its_data_elsewhere(place):
  shutil.move("data/point_robot", "data/elsewhere")
  run(miniature(methods=("own_methods:cloning",), directories={"point_robot": "data/elsewhere"}, seeds=1))
  assert {row.family for row in table()} == {"point_robot"}


def test_a_population_that_another_process_is_at_is_left_to_it(place):
  config = miniature(methods=("own_methods:cloning",))
  (population,) = populations_of(study.examine(config).runs())
  last = population.cells[0].directory(1)
  last.parent.mkdir(parents=True)
  with filelock.FileLock(last.with_name(f"{last.name}.lock")):
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
      study.train(study.examine(config), population, Interruption(), waits=False)
  assert "training" not in said.getvalue()


@pytest.mark.parametrize(
  ("changes", "problem"),
  [
    ({"methods": ("macaws",)}, r"--config=macaws: no such file; did you mean --config=macaw\?"),
    ({"methods": ("own_methods:number",)}, "number of .*own_methods.py must be a function"),
    ({"methods": ("own_methods:clone",)}, "has no 'clone'; expected cloning, raising, forgetting"),
    (
      {"methods": ("own_methods:raising",)},
      "algorithm 'own_methods:raising': .*own_methods.py: line 10: KeyError: 'lost'",
    ),
    ({"methods": ("own_methods:forgetting",)}, "expected an Algorithm, .*own_methods.py returns None"),
    ({"methods": ("nowhere:method",)}, "there is no module 'nowhere'"),
    ({"methods": ()}, r"config.methods = \(\) and config.families = \('point_robot',\): expected names in both"),
    ({"methods": (5,)}, r"config.methods = \(5,\): expected names, each once, as"),
    ({"methods": ("multitask_bc", "multitask_bc")}, r"config.methods = .*: expected names, each once"),
    ({"families": ("point_robots",)}, "expected a task family or a dataset"),
    ({"directories": {"point_robot": "data/ants"}}, "config.dataset.directory = 'data/ants': no dataset there"),
    ({"seeds": 0}, "config.seeds = 0: expected an integer of at least 1"),
    ({"settings": {"s": 3}}, "config.settings.s = 3: expected fields by name"),
    ({"settings": {"s": {"seed": 1}}}, "multitask_bc, point_robot, s: config.seed = 1: the study decides it"),
    (
      {"settings": {"s": {"algorithmm": {"layer": "dense"}}}},
      "config.algorithmm.layer = 'dense': the configuration has",
    ),
    ({"settings": {"s": {"training": {"steps": "ten"}}}}, "s: config.training.steps = 'ten': "),
    ({"evaluations": {"own": {"support": "nobody"}}}, "config.evaluations.own: --support=nobody: expected one of own"),
    ({"evaluations": {"own": {"steps": (-1,)}}}, r"config.evaluations.own: --steps=\(-1,\): expected integers"),
    ({"evaluations": {"own": {"support_size": 10_000}}}, "config.evaluation.support_size = 10000: task 3"),
    ({"evaluations": {"own": {"own_episodes": 5, "steps": (1,)}}}, "--own_episodes=5: the agent is evaluated after"),
    ({"figures": ("pie",)}, "config.figures has pie: expected some of curves"),
    ({"evaluations": {"own": {"stepz": (0, 1)}}}, r"config.evaluations.own: \['stepz'\] are no flags"),
    (
      {"settings": {"s": {"algorithm": {"layers": "dense"}}}},
      "multitask_bc, point_robot, s: config.algorithm.layers is",
    ),
  ],
)
def test_a_study_that_cannot_be_run_says_why_before_anything_is_trained(place, changes, problem):
  with pytest.raises(ConfigurationError, match=problem):
    run(miniature(**changes))
  assert not (place / "runs").exists()


def test_the_report_needs_no_training(place, monkeypatch):
  config = miniature(figures=("curves", "stages", "profiles", "evaluations", "improvement"))
  with pytest.raises(
    ConfigurationError, match=r"no results.json, curves.json, logged.json, runs.json, config.json there; run"
  ):
    study.report(study.examine(config))
  run(config)
  monkeypatch.setattr(study, "run_population", lambda *_: pytest.fail("trains"))
  with study.timed(study.examine(config)):
    pass
  path = study.report(study.examine(config))
  page = path.read_text()
  assert page.count("<figure") == page.count("<svg") == page.count("</svg>") == 5
  assert "own_methods:cloning" in page
  assert "seconds of the processor" in page
  for ending in ("svg", "pdf", "png", "csv"):
    assert (path.parent / "figures" / f"stages.{ending}").stat().st_size > 0
  first = {file.name: file.read_bytes() for file in (path.parent / "figures").iterdir()}
  study.report(study.examine(config))
  assert {file.name: file.read_bytes() for file in (path.parent / "figures").iterdir()} == first


def test_a_report_of_another_study_than_the_tables_is_refused(place):
  run(miniature(seeds=1))
  study.report(study.examine(miniature(seeds=1, figures=("profiles",), title="Another title")))
  with pytest.raises(ConfigurationError, match=r"config.seeds = 2: the tables in runs/studies/mini were made with 1"):
    study.report(study.examine(miniature(seeds=2)))


def test_starts_that_are_killed_are_counted(place):
  config = miniature(methods=("own_methods:cloning",), seeds=1)
  run(config)
  examined = study.examine(config)
  with pytest.raises(KeyboardInterrupt), study.timed(examined):
    raise KeyboardInterrupt
  with study.timed(examined):
    found = study.origin(examined)
  assert found["starts"] == "2"
  assert found["seconds by the clock"].endswith(", without those of 1 that did not end")
  assert study.origin(examined)["seconds by the clock"] == "0"


def test_every_study_that_is_shipped_is_right(monkeypatch):
  folder = study.Path(study.__file__).parents[1] / "configs" / "studies"
  names = [path.stem for path in folder.glob("[!_]*.py") if path.stem != "study"]
  assert names
  for name in names:
    config = make_config([f"studies/{name}"], [], study.examine)
    assert isinstance(config, ml_collections.ConfigDict)
    if config.families and name != "task_conflicts":  # which collects its data itself
      config.families = ("cheetah_dir",)
      config.directories = ml_collections.ConfigDict()  # the starter data, which a clone has
    if name in ("train_tasks", "extrapolation"):
      continue  # They need the velocities, which are collected first.
    assert bool(study.examine(config).cells) == bool(config.methods)
    json.dumps(config.to_dict(), default=list)
