"""Any algorithm with the defaults of its factory, as one that has no file of its own yet.

python -m experiments.run --config=configs/algorithm.py:multitask_bc           half-cheetah, starter data
python -m experiments.run --config=configs/algorithm.py:focal,cheetah_vel      data/cheetah_vel, of another family
python -m experiments.run --config=configs/algorithm.py:maml_rl,cartpole_bias  on-policy, in the tasks of a family
python -m experiments.run --config=configs/algorithm.py:my_file:my_method      a factory of your own, on recorded data
"""

import ml_collections

from macaw_jax.algorithms import ON_POLICY, RECORDED
from macaw_jax.algorithms.lookup import EXPECTED, learns_from_recorded_data

from .defaults import defaults
from .on_policy import on_policy


def get_config(named: str) -> ml_collections.ConfigDict:
  """The configuration of `<algorithm>`, or `<algorithm>,<data or family>`. Raises ValueError for another algorithm."""
  name, _, data = named.partition(",")
  if name in ON_POLICY:
    return on_policy(name, data or "point_rotated")
  if learns_from_recorded_data(name):
    return defaults(name, data or "cheetah_dir")
  raise ValueError(f"{name!r}: expected one of {', '.join([*RECORDED, *ON_POLICY])}, {EXPECTED}")
