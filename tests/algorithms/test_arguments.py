"""Arguments that make no sense are refused by every factory, and every factory tells what it takes."""

import inspect
import math

import jax
import pytest

from macaw_jax.algorithms import ALGORITHMS
from macaw_jax.types import Problem

PROBLEM = Problem(3, 2, 4, 0.99)
NONSENSE = {
  "hidden_sizes": [(), (0,), (100, -1)],
  "layer": ["sparse"],
  "standard_deviation": [0.0, math.nan],
  "advantage_coefficient": [0.0, math.nan],
  "inner_steps": [0],
  "inner_value_step_size": [0.0, math.nan],
  "inner_policy_step_size": [-1.0, math.nan],
  "inner_value_target": ["best"],
  "outer_value_target": ["best"],
  "value_target": ["best"],
  "advantage_target": ["best"],
  "lambda_": [-0.1, 1.5, math.nan],
  "ema_decay": [-0.1, 1.5, math.nan],
  "temperature": [0.0, math.nan],
  "max_weight": [0.0, math.nan],
  "matmul_precision": ["float8"],
  "remat": ["everything"],
  "task_dropout": [-0.1, 1.0, math.nan],
  "value_learning_rate": [-1e-3, math.nan],
  "policy_learning_rate": [-1e-3, math.nan],
  "rule_learning_rate": [-1e-3, math.nan],
  "decay_steps": [0],
  "fine_tune_steps": [0],
  "fine_tune_value_learning_rate": [-1e-3, math.nan],
  "fine_tune_policy_learning_rate": [-1e-3, math.nan],
  # of context-based agents
  "core": ["td3"],
  "reward_scale": [0.0, math.nan],
  "expectile": [0.0, 1.0, math.nan],
  "behaviour_penalty": [-1.0, math.nan],
  "divergence_target": [-1.0, math.nan],
  "max_penalty": [-1.0, math.nan],
  "penalty_rate": [-1.0, math.nan],
  "tau": [-0.1, 1.1, math.nan],
  "agent_learning_rate": [-1e-3, math.nan],
  "encoder_learning_rate": [-1e-3, math.nan],
  "encoder_steps": [0],
  "latent_size": [0],
  "encoder_hidden_sizes": [(), (0,)],
  "kl_weight": [-0.1, math.nan],
  "kl_reduction": ["median"],
  "metric_weight": [-1.0, math.nan],
  "repulsion": [-1.0, math.nan],
  "repulsion_offset": [0.0, math.nan],
  "reconstruction_weight": [-1.0, math.nan],
  "decoder_hidden_sizes": [(), (0,)],
  "information_weight": [-1.0, math.nan],
  "behaviour_model_hidden_sizes": [(), (0,)],
  "negatives": ["none"],
  "num_negatives": [0],
  "reward_noise": [0.0, math.nan],
  "contrastive_temperature": [0.0, math.nan],
  "queries_per_task": [0],
  "generator_latent_size": [0],
  "generator_hidden_sizes": [(), (0,)],
  # of agents that act in order to learn
  "learning_rate": [-1e-3, math.nan],
  "step_size": [-1.0, math.nan],
  "initial_log_std": [math.inf, math.nan],
  "clip": [0.0, math.nan],
  "epochs": [0],
  "activation": ["swish"],
  "advantage_hidden_sizes": [(), (0,)],
  "advantage_activation": ["swish"],
  "surrogate": ["best"],
  "loaded_lambda": [-0.1, 1.5, math.nan],
}
# What a core alone reads, and refuses.
READ_BY = {
  "temperature": "iql",
  "expectile": "iql",
  "max_weight": "iql",
  "behaviour_penalty": "brac",
  "divergence_target": "brac",
  "max_penalty": "brac",
  "penalty_rate": "brac",
}
SWITCHES = {
  "learn_step_sizes",
  "first_order",
  "relu_action",
  "next_observation",
  "learned_advantage",
  "offset",
  "normalise_advantages",
  "whiten_values",
  "sampling_credit",
}
NUMBERS = [name for name, values in NONSENSE.items() if any(isinstance(value, float) for value in values)]


def keywords(name):
  parameters = inspect.signature(ALGORITHMS[name]).parameters.values()
  return [parameter.name for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY]


@pytest.mark.parametrize("name", ALGORITHMS)
def test_nonsense_is_refused(name):
  for argument in set(keywords(name)) - SWITCHES - {"optimizer"}:
    core = {"core": READ_BY[argument]} if "core" in keywords(name) and argument in READ_BY else {}
    for value in NONSENSE[argument]:
      with pytest.raises(ValueError, match=r"must|unknown"):
        ALGORITHMS[name](PROBLEM, **{argument: value}, **core)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_a_factory_takes_what_its_signature_says_and_nothing_else(name):
  parameters = inspect.signature(ALGORITHMS[name]).parameters
  defaults = {argument: parameters[argument].default for argument in keywords(name)}
  ALGORITHMS[name](PROBLEM, **defaults)
  with pytest.raises(TypeError, match=r"momentum"):
    ALGORITHMS[name](PROBLEM, momentum=0.9)


def test_the_signature_of_a_factory_lacks_what_it_sets_itself():
  assert set(keywords("macaw")) - set(keywords("maml_awr")) == {"advantage_coefficient"}


@pytest.mark.parametrize("argument", [{"expectile": 7.0}, {"behaviour_penalty": -3.0}, {"core": "iql"}])
def test_an_argument_that_a_factory_does_not_pass_on_is_refused(argument):
  with pytest.raises(TypeError, match=rf"pearl\(\) got an unexpected keyword argument '{next(iter(argument))}'"):
    ALGORITHMS["pearl"](PROBLEM, **argument)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_traced_numbers_pass(name):
  numbers = {argument: 0.5 for argument in keywords(name) if argument in NUMBERS}

  def build(values):
    ALGORITHMS[name](PROBLEM, **values)

  jax.eval_shape(build, numbers)
