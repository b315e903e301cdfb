"""The authors' released code of an algorithm, by its choices: those of `ALGORITHMS["<algorithm>_released"]`.

python -m experiments.run --config=configs/released.py:focal                    half-cheetah forward and backward
python -m experiments.run --config=configs/released.py:focal,cheetah_vel        data/cheetah_vel
python -m experiments.run --config=configs/released.py:focal,cheetah_vel,small  with the sizes of configs/focal.py
python -m experiments.run --config=configs/released.py:pearl,point_robot        pearl and norml act in a family

Recorded data are read as they are, an update may have a task more than once where the authors draw so, and learning
rates do not decay. At the released sizes, networks of three layers of 200 to 300 units and 16 tasks of 256 rows, an
update takes up to a second of one core, and the authors make 100,000 of them or more. `small` has the networks, the
batches and the number of updates of our own configurations: what differs is how an agent learns, and not how much.
"""

import ml_collections
from ml_collections import config_dict

from macaw_jax.algorithms import RECORDED, RELEASED

from .contextual import contextual_defaults
from .defaults import defaults
from .norml import get_config as norml_config
from .pearl import get_config as pearl_config
from .section import algorithm_section, depart

# Rows of a task that an update takes for the actor-critic; the steps of FOCAL and CSRO read three shares.
QUERY_SIZES = dict.fromkeys(("focal_released", "csro_released", "unicorn_released"), 3 * 256)
DISTINCT = ("focal_released", "csro_released")
SMALL = {"encoder": {"hidden_sizes": (64, 64)}, "actor_critic": {"hidden_sizes": (128, 128)}}
# CORRO's generator and encoder learn before its agent; in `small` in half of the updates.
STEPS = {"corro_released": 500_000}
SMALL_BESIDE = {
  "unicorn_released": {"decoder_hidden_sizes": (64, 64)},
  "corro_released": {"stages": (2_000, 3_000)},
}


def get_config(named: str = "focal") -> ml_collections.ConfigDict:
  """The configuration of `<algorithm>[,<data or family>[,small]]`. Raises ValueError for another text."""
  name, data, size, *more = *named.split(","), *("",) * max(0, 3 - len(named.split(",")))
  released = f"{name}_released"
  if released not in RELEASED or size not in ("", "small") or more:
    known = ", ".join(each.removesuffix("_released") for each in RELEASED)
    raise ValueError(f"{named!r}: expected <algorithm>[,<data or family>[,small]], the algorithm one of {known}")
  if released == "macaw_released":
    return defaults(released, data or "cheetah_dir")
  if released in RECORDED:
    return contextual(released, data or "cheetah_dir", small=size == "small")
  config = pearl_config(data or "point_robot") if name == "pearl" else norml_config(data or "point_rotated")
  config.algorithm = algorithm_section(released)
  config.variants = ml_collections.ConfigDict()
  return config


def contextual(released: str, data: str, *, small: bool) -> ml_collections.ConfigDict:
  """The configuration of a context-based agent on recorded data."""
  config = contextual_defaults(released, data)
  config.algorithm.optimizer.decay_steps = config_dict.placeholder(int)
  config.dataset.scaling = "none"
  # FOCAL's and CSRO's draw distinct tasks, but for the two directions, of which an update has four.
  config.training.repeated_tasks = released not in DISTINCT or data.startswith("cheetah_dir")
  query_size = QUERY_SIZES.get(released, 256)
  if small:
    # As our own: 512 rows of all tasks. On two directions four tasks are drawn, so that two may be the same.
    depart(config.algorithm, SMALL | SMALL_BESIDE.get(released, {}))
    num_tasks = 4 if data.startswith("cheetah_dir") else config.training.tasks_per_update
    config.training.update(tasks_per_update=num_tasks, query_size=query_size // 256 * (512 // num_tasks))
  else:
    steps = STEPS.get(released, 100_000)
    config.training.update(steps=steps, tasks_per_update=16, support_size=256, query_size=query_size)
    config.training.update(evaluate_every=10_000, checkpoint_every=10_000)
  return config
