"""Any algorithm with small networks and plain gradient steps.

Adam's first step divides a gradient by its own size, which turns rounding into steps.
"""

import inspect

import optax

from macaw_jax.algorithms import ALGORITHMS
from macaw_jax.algorithms.settings import CHOICES
from macaw_jax.hyperparameters import Part

# Settings of sections that have no `hidden_sizes`, or more than these.
SMALL = {
  "optimizer": {},
  "ppo": {"minibatches": 3},
  "cell": {"hidden_size": 4},
  "belief": {"latent_size": 2, "hidden_sizes": (4,), "decoder_sizes": (4,), "num_prefixes": 3},
}


def small_agent(problem, name, *, sizes=(6,), make_optimizer=optax.sgd, **settings):
  """The algorithm called `name` with nested settings: a section is a dict of changes of its default part."""
  parameters = inspect.signature(ALGORITHMS[name]).parameters
  arguments = dict(settings)
  for section, default in {n: p.default for n, p in parameters.items() if isinstance(p.default, Part)}.items():
    changes = dict(settings.get(section, {}))
    chosen = CHOICES.get(section, {}).get(changes.pop("name", None))
    small = SMALL.get(section, {"hidden_sizes": sizes}) | (
      {"optimizer": make_optimizer} if section in ("optimizer", "ppo") else {}
    )
    base = {} if chosen else default.settings
    arguments[section] = (chosen or default.factory)(**{**base, **small, **changes})
  if "hidden_sizes" in parameters:
    arguments.setdefault("hidden_sizes", sizes)
  if "optimizer" in parameters:
    arguments.setdefault("optimizer", make_optimizer)
  return ALGORITHMS[name](problem, **arguments)
