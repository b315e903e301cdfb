"""Every algorithm by name: `factory(problem, **hyperparameters) -> Algorithm`."""

from collections.abc import Callable

from macaw_jax.algorithms.macaw import macaw
from macaw_jax.algorithms.maml_awr import maml_awr
from macaw_jax.algorithms.multitask_awr import multitask_awr
from macaw_jax.algorithms.multitask_bc import multitask_bc
from macaw_jax.types import Algorithm

ALGORITHMS: dict[str, Callable[..., Algorithm]] = {
  "macaw": macaw,
  "maml_awr": maml_awr,
  "multitask_awr": multitask_awr,
  "multitask_bc": multitask_bc,
}

__all__ = ["ALGORITHMS", "macaw", "maml_awr", "multitask_awr", "multitask_bc"]
