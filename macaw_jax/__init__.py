"""Offline meta-reinforcement learning in JAX: the public names. docs/api.md has a line for each.

Names are imported when they are first used: `import macaw_jax` takes no time, and needs no JAX.
"""

import importlib
from typing import Any

_HOMES = {
  # From a script.
  "macaw_jax.api": ("Recorded", "evaluate", "load_data", "retrieving_agent", "train"),
  "macaw_jax.agent": ("Agent", "load_run"),
  "macaw_jax.data.starter": ("starter_data",),
  "macaw_jax.data.episodes": ("episodes",),
  "macaw_jax.data.dataset": ("Dataset", "Episodes", "load_dataset", "write_episodes"),
  "macaw_jax.data.formats.arrays": ("write_dataset",),
  "macaw_jax.evaluation.evaluate": ("Split", "offline", "online"),
  "macaw_jax.evaluation.rows": ("Row",),
  "macaw_jax.evaluation.tables": ("results_table",),
  "macaw_jax.evaluation.comparison": ("comparison_table", "group_runs"),
  "macaw_jax.evaluation.results": ("read_run",),
  # The contract of algorithms.
  "macaw_jax.types": (
    "Adaptation",
    "Algorithm",
    "MetaParams",
    "Problem",
    "TaskBatch",
    "TimeStep",
    "TrainState",
    "Trajectory",
    "Transition",
  ),
  # Algorithms, and the parts that they are handed.
  "macaw_jax.algorithms": (
    "ALGORITHMS",
    "bati",
    "belief_encoder",
    "context_optimizers",
    "contrastive_encoder",
    "corro",
    "csro",
    "distral",
    "divide_and_conquer",
    "focal",
    "likelihood_encoder",
    "macaw",
    "maml_awr",
    "maml_rl",
    "metric_encoder",
    "multitask_awr",
    "multitask_bc",
    "multitask_iql",
    "multitask_ppo",
    "multitask_sac",
    "noisy_encoder",
    "norml",
    "pearl",
    "pearl_offline",
    "policy_gradient_inner",
    "recurrent_belief",
    "reptile",
    "rl2",
    "rl2_offline",
    "single_task_awr",
    "unicorn",
    "varibad",
    "varibad_offline",
  ),
  "macaw_jax.algorithms.decoders": ("gaussian_decoders", "squared_error_decoder"),
  "macaw_jax.algorithms.settings": ("defaults_of", "make_algorithm"),
  "macaw_jax.actor_critics": ("awac", "brac", "iql", "sac", "tempered_sac", "twin_sac"),
  "macaw_jax.networks.cells": ("attention", "gru"),
  "macaw_jax.learners.ppo": ("ppo",),
  # To compose an algorithm.
  "macaw_jax.adaptation.retrieval": ("retrieving",),
  "macaw_jax.data.retrieval": ("by_outcomes", "make_reference"),
  "macaw_jax.data.reward_model": ("fit_reward_model", "infer"),
  "macaw_jax.adaptation": ("chain", "fine_tune", "gradient_step", "identity"),
  "macaw_jax.objectives": ("add", "over_tasks", "scale"),
  "macaw_jax.learners.gradient": ("init_parts", "learner", "meta_learner", "optimize_parts", "reptile_gradient"),
  "macaw_jax.learners.gradient_surgery": ("GradientSurgery", "mean_gradient", "pcgrad"),
  "macaw_jax.learners.context": ("ContextLearner", "context_learner"),
  # Where batches come from, and the session.
  "macaw_jax.sources.source": ("Source",),
  "macaw_jax.sources.recorded": ("recorded",),
  "macaw_jax.sources.replay": ("CollectionSettings", "replayed"),
  "macaw_jax.sources.on_policy": ("collecting", "on_policy"),
  "macaw_jax.training.run": ("Member", "Run", "Schedule"),
  "macaw_jax.training.session": ("train_run",),
  # Task families, and what one of your own is made of.
  "macaw_jax.envs": ("FAMILIES", "make_family"),
  "macaw_jax.envs.family": (
    "AnalyticDynamics",
    "MujocoDynamics",
    "Physics",
    "TaskFamily",
    "TaskSplit",
    "never",
  ),
  "macaw_jax.envs.gymnasium_family": ("gymnasium_family",),
  "macaw_jax.errors": ("ConfigurationError", "TrainingError"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = sorted(_HOME_OF)


def __getattr__(name: str) -> Any:
  if name not in _HOME_OF:
    raise AttributeError(f"module 'macaw_jax' has no attribute {name!r}")
  return getattr(importlib.import_module(_HOME_OF[name]), name)


def __dir__() -> list[str]:
  return __all__
