"""NoRML, and the methods that it is compared with.

python -m experiments.run --config=configs/norml.py                       point agent with rotated actions
python -m experiments.run --config=configs/norml.py:point_rotated_sparse  the same, reward until it arrives alone
python -m experiments.run --config=configs/norml.py:cartpole_bias         cart-pole with a biased sensor
python -m experiments.run --config=configs/norml.py:cheetah_swapped       half-cheetah with two motors exchanged
python -m experiments.run --config=configs/norml.py:<family>              any other family, or <module>:<attribute>
python -m experiments.run --config=configs/norml.py --config.population.variants=maml,norml --config.population.seeds=3
python -m experiments.run --config=configs/norml.py --config.population.variants=all --config.population.seeds=5
python -m experiments.compare runs/norml-point_rotated-* --picture=curves.png

Values of the authors' configuration file (Yang et al. 2019), but for these, which were chosen on training tasks:
- `point_rotated`: MAML diverges at the file's learning rate of 7e-3, and takes 1e-3. The file has no domain
  randomisation for the point agents, which takes MAML's values.
- `point_rotated_sparse`: where every episode counts once, a step size of 9 leads NoRML to where no episode arrives any
  more, 3 did so for some seeds, and 2e-5 adapts nothing without the offset. Both variants with a learned advantage take
  steps of 1, and start, as MAML does, from a log standard deviation of -1.25; without the offset the learning rate is
  MAML's.
- `cartpole_bias`: learning rate 1e-2 and log standard deviation -0.5 for all variants, the file's largest. Episodes
  that end early are few data, and with the file's values NoRML had learned nothing after 200 updates. Step sizes
  start at 1 with a learned advantage, and at 0.01 without.
- Outer advantages are standardised in each task with a learned advantage, and not without; the code of the authors
  standardises those of the last task of a batch alone, which is `normalise_last_task`. On `point_rotated_sparse` no
  variant's are: in a task in which no episode arrives, the error of the value fit would be made as large as anywhere.
- Other families, and variants of these, take the values of `cartpole_bias`, untuned.
"""

from typing import Any, NamedTuple

import ml_collections

from .on_policy import on_policy


class Column(NamedTuple):
  """Settings of a variant on a family."""

  step_size: float
  learning_rate: float
  initial_log_std: float
  learn_step_sizes: bool


# Whether an arm has a learned advantage, and an offset.
VARIANTS = {
  "domain_randomisation": (False, False),
  "maml": (False, False),
  "maml_offset": (False, True),
  "norml_without_offset": (True, False),
  "norml": (True, True),
}

COLUMNS: dict[str, dict[str, Column]] = {
  "point_rotated": {
    "domain_randomisation": Column(0.0, 1e-3, -3.0, False),
    "maml": Column(0.02, 1e-3, -3.0, True),
    "maml_offset": Column(0.1, 3e-3, -3.0, True),
    "norml_without_offset": Column(0.7, 6e-4, -3.25, False),
    "norml": Column(10.0, 6e-3, -0.75, False),
  },
  "point_rotated_sparse": {
    "domain_randomisation": Column(0.0, 2e-3, -1.25, False),
    "maml": Column(1e-4, 2e-3, -1.25, True),
    "maml_offset": Column(7.0, 2e-3, -0.5, True),
    "norml_without_offset": Column(1.0, 2e-3, -1.25, False),
    "norml": Column(1.0, 2.6e-3, -1.25, False),
  },
  "cartpole_bias": {
    "domain_randomisation": Column(0.0, 1e-2, -0.5, False),
    "maml": Column(1e-2, 1e-2, -0.5, True),
    "maml_offset": Column(1e-2, 1e-2, -0.5, True),
    "norml_without_offset": Column(1.0, 1e-2, -0.5, True),
    "norml": Column(1.0, 1e-2, -0.5, True),
  },
  "cheetah_swapped": {
    "domain_randomisation": Column(0.0, 1.2e-3, -1.61, False),
    "maml": Column(4.5e-4, 8.7e-5, -1.17, True),
    "maml_offset": Column(5e-5, 1.5e-4, -0.8, True),
    "norml_without_offset": Column(3e-5, 5e-4, -1.5, False),
    "norml": Column(3e-5, 5e-4, -1.9, False),
  },
}

FOR_OTHERS = COLUMNS["cartpole_bias"]

# Values that all variants of a family share, by section.
SHARED: dict[str, dict[str, dict[str, Any]]] = {
  "point_rotated": {"rollouts": {"discount": 0.9}},
  "point_rotated_sparse": {"rollouts": {"discount": 0.9}},
  # Evaluated in whole episodes of 500 steps; most of training is spent on fewer.
  "cartpole_bias": {"rollouts": {"discount": 0.97, "horizon": 200}},
  "cheetah_swapped": {
    "rollouts": {"discount": 0.99, "episodes": 50},
    "algorithm": {
      # A linear policy, with more parameters than it needs.
      "hidden_sizes": (100,),
      "activation": "identity",
      "advantage_hidden_sizes": (50,),
      "advantage_activation": "relu",
      "whiten_values": True,
    },
  },
}


def get_config(family: str = "point_rotated") -> ml_collections.ConfigDict:
  """NoRML on a family, with all compared methods as variants."""
  config = on_policy("norml", family, **variant("norml", family))
  config.variants = ml_collections.ConfigDict({name: variant(name, family) for name in VARIANTS})
  for section, values in SHARED.get(family, {}).items():
    config[section].update(values)
  return config


def variant(name: str, family: str) -> dict[str, Any]:
  """The settings in which a variant differs from others on a family."""
  learned_advantage, offset = VARIANTS[name]
  return {
    "learned_advantage": learned_advantage,
    "offset": offset,
    "normalise_advantages": learned_advantage and family != "point_rotated_sparse",
    **COLUMNS.get(family, FOR_OTHERS)[name]._asdict(),
  }
