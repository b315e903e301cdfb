"""MAML by policy gradients, with rewards: plain, as ProMP, and as E-MAML.

python -m experiments.run --config=configs/maml_rl.py                                 point agent with rotated actions
python -m experiments.run --config=configs/maml_rl.py --config.population.variants=promp  a surrogate of less variance
python -m experiments.run --config=configs/maml_rl.py --config.population.variants=e_maml credit for the choice of data
python -m experiments.run --config=configs/maml_rl.py:<family>                        any other family
python -m experiments.compare runs/maml_rl-point_rotated-*

MAML and E-MAML can be members of one program; ProMP is another program, and so a run of its own. Their values are the
published ones, but for the initial standard deviation: published policies act on a range ten times as wide.
"""

import ml_collections

from .on_policy import on_policy

# Stadie et al. 2018 (E-MAML), with one step of Adam in place of a trust region; Rothfuss et al. 2019 (ProMP). Each
# variant names all settings in which it differs from some other.
VARIANTS = {
  "maml": {"inner": {"surrogate": "log_prob"}, "sampling_credit": False, "epochs": 1, "clip": 0.5, "kl_weight": 0.0},
  "e_maml": {"inner": {"surrogate": "log_prob"}, "sampling_credit": True, "epochs": 1, "clip": 0.5, "kl_weight": 0.0},
  "promp": {"inner": {"surrogate": "ratio"}, "sampling_credit": False, "epochs": 5, "clip": 0.3, "kl_weight": 5e-4},
}


def get_config(family: str = "point_rotated") -> ml_collections.ConfigDict:
  """Plain MAML on a family, with the others as variants."""
  config = on_policy("maml_rl", family, tasks_per_update=20)
  config.variants = ml_collections.ConfigDict(VARIANTS)
  config.rollouts.episodes = 20
  if family.startswith("point_rotated"):
    config.rollouts.discount = 0.9
  return config
