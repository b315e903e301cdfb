"""A run on episodes that the agent acts itself, small enough for seconds."""

from configs import norml


def make_miniature(output, configuration=norml, **population):
  """A locked configuration of eight updates on two tasks each, with small networks and short episodes."""
  config = configuration.get_config()
  config.output_directory = str(output)
  config.rollouts.update({"episodes": 4, "tasks_per_update": 2, "horizon": 5})
  config.training.update({"steps": 8, "log_every": 2, "evaluate_every": 4, "checkpoint_every": 4})
  config.algorithm.hidden_sizes = (8,)
  if "advantage_hidden_sizes" in config.algorithm:
    config.algorithm.advantage_hidden_sizes = (8,)
  config.evaluation.update({"tasks": 3, "episodes": 2})
  config.population.update(population)
  return config.lock()
