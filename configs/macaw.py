"""MACAW.

python -m experiments.run --config=configs/macaw.py                 half-cheetah forward and backward, starter data
python -m experiments.run --config=configs/macaw.py:cheetah_vel     half-cheetah at 40 velocities, data/cheetah_vel
python -m experiments.run --config=configs/macaw.py:<family>        any other family of docs/families, data/<family>
"""

import ml_collections
from ml_collections import config_dict

from configs.defaults import SHORT_EPISODES, defaults


def get_config(family: str = "cheetah_dir") -> ml_collections.ConfigDict:
  """MACAW as it does best here; `macaw_jax.algorithms.macaw.RELEASED` has the released code's choices."""
  config = defaults(
    "macaw",
    family,
    hidden_sizes=(100, 100, 100),
    layer="weight_transform",
    standard_deviation=0.2,
    advantage_coefficient=0.01,
    relu_action=True,
    inner_steps=1,
    inner_value_step_size=0.01,
    inner_policy_step_size=0.01,
    learn_step_sizes=True,
    first_order=False,
    inner_value_target="monte_carlo",
    outer_value_target="monte_carlo",
    advantage_target="monte_carlo",
    lambda_=0.95,
    ema_decay=config_dict.placeholder(float),  # none: no slow copy
    temperature=1.0,
    max_weight=20.0,
    matmul_precision="float32",  # 'bfloat16': layers multiply rounded numbers, for accelerators made for it
    remat="nothing",  # 'inner_steps': computed again, not kept; saves nothing on a CPU (benchmarks/memory.py)
    value_learning_rate=3e-4,
    policy_learning_rate=3e-4,
    rule_learning_rate=1e-3,
  )
  if family == "cheetah_vel":
    config.training.steps = 8_000
  if family in SHORT_EPISODES:
    config.algorithm.temperature = 0.5
  elif family != "cheetah_dir":
    # A return to the end of a recorded episode also says how much of the episode was left, which no observation
    # shows and which passes for advantage. Bootstrapping at the time limit takes it out. Where tasks differ as much
    # as two directions, it is not needed, and training without it is steadier.
    config.algorithm.inner_value_target = "bootstrapped"
    config.algorithm.outer_value_target = "bootstrapped"
    config.algorithm.advantage_target = "bootstrapped"
    config.algorithm.temperature = 0.5
  return config
