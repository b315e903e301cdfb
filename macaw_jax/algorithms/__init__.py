"""Every algorithm by name: `factory(problem, **settings) -> Algorithm`.

The name with `_released` is the same factory with the choices of the authors' released code as its defaults.
"""

import functools
from collections.abc import Callable

from macaw_jax.algorithms.bati import bati, likelihood_encoder
from macaw_jax.algorithms.contextual import context_optimizers
from macaw_jax.algorithms.corro import RELEASED as CORRO_RELEASED
from macaw_jax.algorithms.corro import contrastive_encoder, corro
from macaw_jax.algorithms.csro import RELEASED as CSRO_RELEASED
from macaw_jax.algorithms.csro import csro
from macaw_jax.algorithms.distral import distral
from macaw_jax.algorithms.divide_and_conquer import divide_and_conquer
from macaw_jax.algorithms.focal import RELEASED as FOCAL_RELEASED
from macaw_jax.algorithms.focal import focal, metric_encoder
from macaw_jax.algorithms.macaw import RELEASED as MACAW_RELEASED
from macaw_jax.algorithms.macaw import macaw
from macaw_jax.algorithms.maml_awr import maml_awr
from macaw_jax.algorithms.maml_rl import maml_rl
from macaw_jax.algorithms.multitask_awr import multitask_awr
from macaw_jax.algorithms.multitask_bc import multitask_bc
from macaw_jax.algorithms.multitask_iql import multitask_iql
from macaw_jax.algorithms.multitask_ppo import multitask_ppo
from macaw_jax.algorithms.multitask_sac import multitask_sac
from macaw_jax.algorithms.norml import RELEASED as NORML_RELEASED
from macaw_jax.algorithms.norml import norml
from macaw_jax.algorithms.pearl import RELEASED as PEARL_RELEASED
from macaw_jax.algorithms.pearl import pearl
from macaw_jax.algorithms.pearl_offline import belief_encoder, pearl_offline
from macaw_jax.algorithms.policy_gradient_inner import policy_gradient_inner
from macaw_jax.algorithms.reptile import reptile
from macaw_jax.algorithms.rl2 import rl2
from macaw_jax.algorithms.rl2_offline import rl2_offline
from macaw_jax.algorithms.single_task_awr import single_task_awr
from macaw_jax.algorithms.unicorn import RELEASED as UNICORN_RELEASED
from macaw_jax.algorithms.unicorn import noisy_encoder, unicorn
from macaw_jax.algorithms.varibad import recurrent_belief, varibad
from macaw_jax.algorithms.varibad_offline import varibad_offline
from macaw_jax.types import Algorithm

MakeAlgorithm = Callable[..., Algorithm]

# They learn from a recorded dataset,
RECORDED: dict[str, MakeAlgorithm] = {
  "macaw": macaw,
  "maml_awr": maml_awr,
  "multitask_awr": multitask_awr,
  "multitask_bc": multitask_bc,
  "multitask_iql": multitask_iql,
  "multitask_sac": multitask_sac,  # from either: the source decides
  "single_task_awr": single_task_awr,
  "pearl_offline": pearl_offline,
  "focal": focal,
  "unicorn": unicorn,
  "csro": csro,
  "corro": corro,
  "bati": bati,
  "rl2_offline": rl2_offline,
  "varibad_offline": varibad_offline,
  "macaw_released": functools.partial(macaw, **MACAW_RELEASED),
  "pearl_offline_released": functools.partial(pearl_offline, **PEARL_RELEASED),
  "focal_released": functools.partial(focal, **FOCAL_RELEASED),
  "csro_released": functools.partial(csro, **CSRO_RELEASED),
  "unicorn_released": functools.partial(unicorn, **UNICORN_RELEASED),
  "corro_released": functools.partial(corro, **CORRO_RELEASED),
}
# from a replay buffer that the agent itself fills,
REPLAYED: dict[str, MakeAlgorithm] = {
  "multitask_sac": multitask_sac,
  "pearl": pearl,
  "pearl_released": functools.partial(pearl, **PEARL_RELEASED),
}
# or from fresh episodes of the present policy: batches are trajectories.
ON_POLICY: dict[str, MakeAlgorithm] = {
  "maml_rl": maml_rl,
  "norml": norml,
  "reptile": reptile,
  "rl2": rl2,
  "varibad": varibad,
  "distral": distral,
  "divide_and_conquer": divide_and_conquer,
  "multitask_ppo": multitask_ppo,
  "norml_released": functools.partial(norml, **NORML_RELEASED),
}
ALGORITHMS: dict[str, MakeAlgorithm] = {**RECORDED, **REPLAYED, **ON_POLICY}
RELEASED = tuple(name for name in ALGORITHMS if name.endswith("_released"))

__all__ = [
  "ALGORITHMS",
  "ON_POLICY",
  "RECORDED",
  "RELEASED",
  "REPLAYED",
  *(name for name in ALGORITHMS if name not in RELEASED),
  "belief_encoder",
  "context_optimizers",
  "contrastive_encoder",
  "likelihood_encoder",
  "metric_encoder",
  "noisy_encoder",
  "policy_gradient_inner",
  "recurrent_belief",
]
