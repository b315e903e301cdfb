"""What tests of algorithms share."""

import jax
import pytest
from small_context_batches import PROBLEM, SMALL

from macaw_jax.algorithms import contextual
from macaw_jax.learners.context import context_learner


@pytest.fixture
def learner_of(monkeypatch):
  """The `ContextLearner` that a factory makes, and its algorithm: `(factory, **arguments) -> both`."""

  def build(factory, **arguments):
    made = []

    def record(learner, optimizers):
      made.append(learner)
      return context_learner(learner, optimizers)

    monkeypatch.setattr(contextual, "context_learner", record)
    algorithm = factory(PROBLEM, **SMALL, **arguments)
    return made[0], algorithm

  return build


@pytest.fixture
def double_precision():
  with jax.enable_x64(True):
    yield
