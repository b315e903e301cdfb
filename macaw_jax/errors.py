"""The errors that a command ends with in one line a problem: bad input, and a run that cannot go on."""


class ConfigurationError(ValueError):
  """Input that cannot be used: a configuration, a run's directory, an argument of a command.

  Attributes:
    problems: all that is wrong with it, one line each.
  """

  def __init__(self, *problems: str):
    super().__init__("\n".join(problems))
    self.problems = problems


class TrainingError(RuntimeError):
  """A run that cannot go on, or that has come to its end with something lost; a line for each reason."""
