"""The pieces that an algorithm's factory hands to its learner, for tests that look inside."""

import importlib
from types import SimpleNamespace
from unittest import mock

LEARNERS = ("meta_learner", "learner")


def pieces_of(factory, *arguments, **settings):
  """The keyword arguments of its learner: init_net, adaptation, outer_loss or meta_gradient, optimizer, act."""
  module = importlib.import_module(factory.__module__)
  name = next(name for name in LEARNERS if hasattr(module, name))
  with mock.patch.object(module, name, wraps=getattr(module, name)) as learner:
    factory(*arguments, **settings)
  return SimpleNamespace(**learner.call_args.kwargs)
