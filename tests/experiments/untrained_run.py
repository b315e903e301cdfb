"""The directory of a run that has had no update: for what evaluates runs, whatever they have learned."""

from pathlib import Path

import jax

from configs import focal
from experiments.experiment import load_experiment, make_algorithm
from experiments.run_directory import data_identity, write_json
from macaw_jax.training.checkpoints import Checkpoint, Checkpoints
from macaw_jax.training.loop import initialise
from macaw_jax.training.population import no_skips


def make_untrained_run(config) -> Path:
  """Writes the configuration and the first checkpoint of a run."""
  directory = Path(config.output_directory)
  directory.mkdir(parents=True)
  write_json(directory / "config.json", config.to_dict())
  experiment = load_experiment(config)
  state = initialise(make_algorithm(config, experiment.problem), jax.random.key(config.seed))
  with Checkpoints(directory / "checkpoints", data_identity(config)) as checkpoints:
    checkpoints.save(0, Checkpoint(state, experiment.statistics, no_skips()), score=None)
  return directory


def context_based(data, output, **changes):
  """A configuration of FOCAL as small as `make_miniature`'s of MACAW; `changes` replace hyper-parameters."""
  config = focal.get_config()
  config.output_directory = str(output)
  config.dataset.directory = str(data)
  config.algorithm.update({"hidden_sizes": (16, 16), "encoder_hidden_sizes": (16,), **changes})
  config.training.update({"support_size": 16, "query_size": 16})
  config.evaluation.update({"episodes": 2, "support_size": 16})
  return config.lock()
