"""Returns on a scale that compares across tasks."""

import chex


def normalised_score(returns: chex.Array, random_return: chex.Array, expert_return: chex.Array) -> chex.Array:
  """100 (return - random) / (expert - random): 0 for a random policy, 100 for the task's expert.

  Args:
    returns: `[...]` undiscounted returns.
    random_return: `[...]` or scalar, from the manifest's `reference_returns`, as `expert_return`.
    expert_return: `[...]` or scalar.
  """
  return 100.0 * (returns - random_return) / (expert_return - random_return)
