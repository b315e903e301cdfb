"""MAML+AWR: meta-learned advantage-weighted regression, the baseline of Mitchell et al. 2021 (section 5).

MACAW with one term less: neither advantage head nor advantage regression in the inner policy step.
"""

from macaw_jax.algorithms.fixed import with_fixed
from macaw_jax.algorithms.macaw import macaw

maml_awr = with_fixed("maml_awr", macaw, advantage_coefficient=None, relu_action=True)
"""`macaw` without an advantage head; it takes all arguments of `macaw` but those of the head."""
