"""Every algorithm by name: `factory(problem, **hyperparameters) -> Algorithm`."""

from collections.abc import Callable

from macaw_jax.algorithms.corro import corro
from macaw_jax.algorithms.csro import csro
from macaw_jax.algorithms.focal import focal
from macaw_jax.algorithms.macaw import macaw
from macaw_jax.algorithms.maml_awr import maml_awr
from macaw_jax.algorithms.maml_rl import maml_rl
from macaw_jax.algorithms.multitask_awr import multitask_awr
from macaw_jax.algorithms.multitask_bc import multitask_bc
from macaw_jax.algorithms.norml import norml
from macaw_jax.algorithms.pearl import pearl
from macaw_jax.algorithms.pearl_offline import pearl_offline
from macaw_jax.algorithms.reptile import reptile
from macaw_jax.algorithms.unicorn import unicorn
from macaw_jax.types import Algorithm

ALGORITHMS: dict[str, Callable[..., Algorithm]] = {
  "macaw": macaw,
  "maml_awr": maml_awr,
  "multitask_awr": multitask_awr,
  "multitask_bc": multitask_bc,
  "pearl": pearl,
  "pearl_offline": pearl_offline,
  "focal": focal,
  "unicorn": unicorn,
  "csro": csro,
  "corro": corro,
  "maml_rl": maml_rl,
  "norml": norml,
  "reptile": reptile,
}

# Those that act in order to learn: their batches are trajectories, and they have no dataset.
ON_POLICY = ("maml_rl", "norml", "reptile")

__all__ = [
  "ALGORITHMS",
  "ON_POLICY",
  "corro",
  "csro",
  "focal",
  "macaw",
  "maml_awr",
  "maml_rl",
  "multitask_awr",
  "multitask_bc",
  "norml",
  "pearl",
  "pearl_offline",
  "reptile",
  "unicorn",
]
