"""MACAW on half-cheetah forward and backward.

python -m experiments.run --config=configs/macaw.py
"""

import ml_collections

from configs.defaults import defaults


def get_config() -> ml_collections.ConfigDict:
  """MACAW as it does best here; `macaw_jax.algorithms.macaw.RELEASED` has the released code's choices."""
  return defaults(
    "macaw",
    hidden_sizes=(100, 100, 100),
    layer="weight_transform",
    standard_deviation=0.2,
    advantage_coefficient=0.01,
    inner_steps=1,
    inner_value_step_size=0.01,
    inner_policy_step_size=0.01,
    # Bootstrapped at the time limit. A return to the end of a recorded episode also says how much of the episode was
    # left, which no observation shows, and that would pass for advantage.
    inner_value_target="bootstrapped",
    outer_value_target="bootstrapped",
    advantage_target="bootstrapped",
    temperature=0.5,
    value_learning_rate=3e-4,
    policy_learning_rate=3e-4,
    rule_learning_rate=1e-3,
  )
