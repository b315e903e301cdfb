"""Monte-Carlo against TD(lambda) value targets.

python -m experiments.study --config=configs/studies/targets.py
"""

import ml_collections

from .study import study

LAMBDAS = (0.0, 0.5, 0.9, 1.0)


def get_config() -> ml_collections.ConfigDict:
  """MACAW with value and advantage targets of Monte-Carlo returns and of TD(lambda), beside those it is given."""
  td = dict.fromkeys(("inner_value_target", "outer_value_target", "advantage_target"), "td_lambda")
  of_order = {"training": {"order": "contiguous"}, "evaluation": {"order": "contiguous"}}
  settings = {
    f"lambda_{value:g}".replace(".", "_"): {"algorithm": td | {"lambda_": value}} | of_order for value in LAMBDAS
  }
  monte_carlo = dict.fromkeys(td, "monte_carlo")
  return study(
    "targets",
    title="Value targets: Monte-Carlo returns and TD(lambda)",
    question=(
      "Mitchell et al. 2021 regress values on Monte-Carlo returns. Do bootstrapped targets, with lambda from 0 to 1 on "
      "consecutive rows, do better or worse, and how steady is training?"
    ),
    methods=("macaw",),
    settings={"as_configured": {}, "monte_carlo": {"algorithm": monte_carlo}, **settings},
    training={"steps": 4_000},
    figures=("curves", "settings"),
  )
