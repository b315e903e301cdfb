"""The shared part of studies; a study's file says what it compares."""

from collections.abc import Mapping, Sequence
from typing import Any

import ml_collections
from ml_collections import config_dict


def study(
  name: str,
  *,
  title: str,
  question: str,
  methods: Sequence[str],
  families: Sequence[str] = ("cheetah_dir", "cheetah_vel"),
  directories: Mapping[str, str] | None = None,
  settings: Mapping[str, Any] | None = None,
  training: Mapping[str, int] | None = None,
  evaluations: Mapping[str, Any] | None = None,
  metrics: Sequence[str] = (),
  figures: Sequence[str] = ("curves", "stages"),
  seeds: int = 3,
) -> ml_collections.ConfigDict:
  """A study of methods by families by settings by seeds.

  Args:
    name: of its folder below runs/studies.
    title: of its report.
    question: that it answers: what the paper claims, and what is measured.
    methods: names of configurations, as `macaw`, or factories of your own, as `my_file:my_method`.
    families: of the data; each is the argument of a method's configuration.
    directories: by family, the dataset that takes the place of the one in a method's configuration.
    settings: by name, fields of a configuration as sections that replace those of the method's.
    training: fields of `config.training` of all cells, as `steps`, in place of the methods' own.
    evaluations: by name, flags of `experiments.evaluate`.
    metrics: of training, as its metrics.jsonl names them, that the study keeps in a table.
    figures: of the report, names in `macaw_jax.study.figures.FIGURES`.
    seeds: of each cell.
  """
  config = ml_collections.ConfigDict()
  config.name, config.title, config.question = name, title, question
  config.output_directory = f"runs/studies/{name}"
  config.runs_directory = "runs/studies/runs"  # of all studies: a run that two of them ask for is trained once
  config.methods, config.families = tuple(methods), tuple(families)
  config.directories = in_order(directories or {})
  config.seed, config.seeds = 0, seeds
  config.settings = in_order(settings or {})
  # Of all cells, in place of the methods' own; without a value a field is as the method has it.
  config.changes = ml_collections.ConfigDict()
  config.changes.training = ml_collections.ConfigDict()
  config.changes.training.steps = config_dict.placeholder(int)
  config.changes.training.evaluate_every = config_dict.placeholder(int)
  config.changes.training.checkpoint_every = config_dict.placeholder(int)
  config.changes.training.log_every = config_dict.placeholder(int)
  config.changes.training.update(training or {})
  config.changes.evaluation = ml_collections.ConfigDict()
  config.changes.evaluation.episodes = config_dict.placeholder(int)
  config.evaluations = in_order(evaluations or {"own": {}})
  config.metrics = tuple(metrics)
  config.figures = tuple(figures)
  return config


def in_order(sections: Mapping[str, Any]) -> ml_collections.ConfigDict:
  """Sections that stay in the order in which they are named: that of tables and figures."""
  return ml_collections.ConfigDict(dict(sections), sort_keys=False)
