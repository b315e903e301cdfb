"""The released code of NoRML: losses, advantages, adapted parameters and meta-gradients, in float32 and in float64."""

import json
import pathlib
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from pieces import pieces_of

from macaw_jax.algorithms import norml
from macaw_jax.algorithms.norml import RELEASED, advantage_weighted_likelihood, mark_last_task
from macaw_jax.losses.feature_baseline import cubic_features
from macaw_jax.losses.returns import returns_to_go
from macaw_jax.objectives.episodes import fitted_value, policy_loss
from macaw_jax.types import MetaParams, Problem, TaskBatch, TrainState, Trajectory

REFERENCE = pathlib.Path(__file__).parent.parent / "reference"
FILES = {path.stem: path for path in sorted(REFERENCE.glob("norml*.npz"))}
CASES = [(name, case) for name, path in FILES.items() for case in json.loads(str(np.load(path)["meta"]))["cases"]]
SWITCHES = ("normalise_advantages", "normalise_last_task")
NORMALISATIONS = {
  "last_task": {name: RELEASED[name] for name in SWITCHES},
  "none": dict.fromkeys(SWITCHES, False),
  "per_task": {"normalise_advantages": True, "normalise_last_task": False},
}
KEY = jax.random.key(0)

# Relative, norm over norm. A tensor that nearly cancels is measured by a tenth of the norm over its group. In float32
# an exact computation is within 4e-6 of the reference, whose rounding that is; ours rounds too. Where the reference's
# own float32 is further than ROUNDING from its float64, the measure grows in proportion.
TOLERANCE = {"float32": 8e-6, "float64": 1e-9}
CANCELLED = 0.1
ROUNDING = 1e-6
# Losses whose terms cancel: ratios are 1, and the residuals of a regression with a constant have a mean of zero.
ABSOLUTE = {"float32": 1e-5, "float64": 1e-10}

every_case = pytest.mark.parametrize(("name", "case"), CASES)
both_precisions = pytest.mark.parametrize("precision", ["float32", "float64"])


class Step:
  """One case of a file: the inputs as arguments and data of ours, and what is expected."""

  def __init__(self, name, case, precision):
    with np.load(FILES[name], allow_pickle=False) as file:
      self.file = {key: file[key] for key in file.files}
    self.case, self.precision = case, precision
    self.meta = meta = json.loads(str(self.file["meta"]))
    settings = meta["cases"][case]
    self.problem = Problem(meta["observation_size"], meta["action_size"], meta["tasks"], meta["discount"])
    networks = ("hidden_sizes", "activation", "advantage_hidden_sizes", "advantage_activation")
    self.arguments = RELEASED | {
      "learned_advantage": settings["learned_advantage"],
      "offset": settings["offset"],
      "step_size": settings["inner_rate"],
      "learn_step_sizes": settings["learn_rates"],
      "whiten_values": settings["whiten_values"],
      "clip": meta["clip"],
      **{name: meta[name] for name in networks},
    }
    given = {group: self.tree(group, partial(self.given, f"param/{group}")) for group in self.groups()}
    if not settings["rate_per_parameter"]:
      given["rate"] = jax.tree.map(lambda leaf: jnp.full_like(leaf, settings["inner_rate"]), given["rate"])
    self.params = MetaParams(
      {"policy": given["policy"], "advantage": given["advantage"]},
      {"step_size": given["rate"], "offset": given["offset"]},
    )
    support = jax.tree.map(lambda leaf: leaf[:, None], self.episodes("support"))  # One set of episodes: one step.
    if settings["learned_advantage"]:
      support = support._replace(reward=None)
    self.tasks = TaskBatch(support, self.episodes("query"), jnp.arange(meta["tasks"]))

  @staticmethod
  def groups():
    return ("policy", "offset", "rate", "advantage")

  def tree(self, group, array):
    """Our tree of the parameters of a group, of which `array` gives each by the file's name."""
    sizes = self.meta["advantage_hidden_sizes" if group == "advantage" else "hidden_sizes"]
    names = [*(f"layer{index}" for index in range(len(sizes))), "out"]
    network = {f"layer_{i}": {"kernel": array(f"{name}/W"), "bias": array(f"{name}/b")} for i, name in enumerate(names)}
    return network if group == "advantage" else {"network": network, "log_std": array("log_std")}

  def episodes(self, which):
    names = ("observation", "action", "next_observation", "mask", "reward")
    return Trajectory(*(self.given(which, name) for name in names))

  def given(self, place, key):
    return jnp.asarray(self.file[f"{place}/{key}"], jnp.dtype(self.precision))

  def expected(self, key, precision=None):
    return self.file[f"{'f64/' if (precision or self.precision) == 'float64' else ''}{self.case}/{key}"]

  def expected_gradient(self, normalisation, precision=None):
    """By group, in our trees. What is absent is not learned, and zero."""

    def array(group, key):
      place = f"{self.case}/{normalisation}/grad/{group}/"
      learned = any(name.startswith(place) for name in self.file)
      if not learned:
        return np.zeros(self.file[f"param/{group}/{key}"].shape, precision or self.precision)
      return self.expected(f"{normalisation}/grad/{group}/{key}", precision)

    return {group: self.tree(group, partial(array, group)) for group in self.groups()}


def record_gradient(learning_rate):
  """An optimiser that leaves the parameters and keeps the gradient as its state."""
  del learning_rate

  def update(gradient, state, params=None):
    del state, params
    return jax.tree.map(jnp.zeros_like, gradient), gradient

  return optax.GradientTransformation(lambda params: params, update)


def meta_gradient(step, **arguments):
  """The meta-gradient that the algorithm's own update hands to its optimiser, by the file's groups."""
  algorithm = norml(step.problem, optimizer=record_gradient, **step.arguments | arguments)
  state, _ = algorithm.update(TrainState(step.params, step.params, jnp.zeros((), jnp.int32)), step.tasks, KEY)
  net, rule = state.opt_state
  return {**net, "offset": rule["offset"], "rate": rule["step_size"]}


def intermediate_results(step, **arguments):
  """Each task's, from the algorithm's own functions, under the file's keys."""
  pieces_of_inner_loss = []

  def inner_loss(*pieces, **named):
    pieces_of_inner_loss.extend(pieces)
    return advantage_weighted_likelihood(*pieces, **named)

  def outer_loss(policy, advantage, *, clip):
    loss = policy_loss(policy, advantage, clip=clip)
    return lambda params, episodes, key: (loss(params, episodes, key)[0], {"advantage": advantage(episodes)})

  settings = step.arguments | arguments
  parts = pieces_of(norml, step.problem, **settings, inner_loss=inner_loss, outer_loss=outer_loss)
  _, learned, of_rewards = pieces_of_inner_loss
  value = fitted_value(cubic_features, discount=step.problem.discount, whiten=settings["whiten_values"])

  def of_task(support, query):
    net, rule = step.params
    first, (episodes, _) = jax.tree.map(lambda leaf: leaf[0], support), query
    inputs = (first.observation, first.action, first.next_observation)
    advantage = learned.apply(net["advantage"], *inputs) if settings["learned_advantage"] else of_rewards(first)
    changes, metrics = parts.adaptation.apply(net, rule, support, KEY)
    outer, judged = parts.outer_loss(net | changes, query, KEY)
    return {
      "loss/inner": metrics["inner_loss_0"],
      "adapted": changes["policy"],
      "out/support_advantage": jnp.where(first.mask > 0, advantage, 0.0),
      "out/query_returns": returns_to_go(episodes.reward, step.problem.discount),
      "out/query_values": value(episodes),
      "out/query_advantage": judged["advantage"],
      "loss/outer": outer,
    }

  tasks = mark_last_task(step.tasks)
  return jax.vmap(of_task)(tasks.support, tasks.query)


@cache
def run(name, case, precision):
  """The case, with its intermediate results and its meta-gradient by normalisation.

  The switches are traced, as those of a population's members are.
  """
  with jax.enable_x64(precision == "float64"):
    step = Step(name, case, precision)

    @jax.jit
    def both(switches):
      return intermediate_results(step, **switches), meta_gradient(step, **switches)

    found = {normalisation: both(switches) for normalisation, switches in NORMALISATIONS.items()}
    return step, jax.tree.map(np.asarray, found)


def error(found, expected, norm=None):
  """Norm of the difference over that of what is expected, or over another one."""
  return np.linalg.norm(np.asarray(found, np.float64) - expected) / (norm or np.linalg.norm(expected))


def errors(found, expected, exact):
  """The error of each tensor of a group, by its place. Where the group is zero, so is what was found, exactly."""
  of_group = np.linalg.norm([np.linalg.norm(leaf) for leaf in jax.tree.leaves(expected)])

  def of_tensor(path, ours, theirs, exact):
    assert (ours.shape, ours.dtype) == (theirs.shape, theirs.dtype), path
    if of_group == 0:
      return np.inf if np.any(ours) else 0.0
    rounding = np.linalg.norm(theirs - exact)
    return error(ours, theirs, max(np.linalg.norm(theirs), CANCELLED * of_group, rounding / ROUNDING))

  found = jax.tree_util.tree_map_with_path(of_tensor, found, expected, exact)
  return {jax.tree_util.keystr(path): value for path, value in jax.tree_util.tree_leaves_with_path(found)}


def assert_small(found, expected, exact, tolerance, what):
  beyond = {place: value for place, value in errors(found, expected, exact).items() if not value <= tolerance}
  assert not beyond, (what, beyond)


@every_case
@both_precisions
def test_advantages_losses_and_adapted_parameters_match_the_released_code(name, case, precision):
  step, of_normalisations = run(name, case, precision)
  adapted, exact = (step.tree("policy", lambda key, p=p: step.expected(f"adapted/{key}", p)) for p in (None, "float64"))
  for normalisation, (found, _) in of_normalisations.items():
    for key in ("out/query_returns", "out/query_values", "out/support_advantage"):
      assert error(found[key], step.expected(key)) <= TOLERANCE[precision], key
    judged_by = step.expected(f"{normalisation}/out/query_advantage")
    assert error(found["out/query_advantage"], judged_by) <= TOLERANCE[precision], normalisation
    assert_small(found["adapted"], adapted, exact, TOLERANCE[precision], "adapted")
    close = partial(np.testing.assert_allclose, rtol=TOLERANCE[precision], atol=ABSOLUTE[precision])
    close(found["loss/inner"], step.expected("loss/inner"))
    close(found["loss/outer"], step.expected(f"{normalisation}/loss/outer"))
    close(np.mean(found["loss/outer"]), step.expected(f"{normalisation}/loss/total"))


@every_case
@both_precisions
def test_meta_gradients_match_the_released_code(name, case, precision):
  step, of_normalisations = run(name, case, precision)
  for normalisation, (_, found) in of_normalisations.items():
    exact = step.expected_gradient(normalisation, "float64")
    for group, expected in step.expected_gradient(normalisation).items():
      assert_small(found[group], expected, exact[group], TOLERANCE[precision], (normalisation, group))


def test_what_is_learned_differs_between_normalisations_and_cases():
  """The comparison would not be one if the references were all alike, or zero."""
  for name, case in CASES:
    step, _ = run(name, case, "float64")
    gradients = {normalisation: step.expected_gradient(normalisation) for normalisation in NORMALISATIONS}
    assert error(gradients["none"]["policy"]["log_std"], gradients["per_task"]["policy"]["log_std"]) > 1e-3
    assert error(gradients["none"]["policy"]["log_std"], gradients["last_task"]["policy"]["log_std"]) > 1e-3
    learned = {
      group for group, tree in gradients["none"].items() if any(np.any(leaf) for leaf in jax.tree.leaves(tree))
    }
    settings = step.meta["cases"][case]
    expected = {"policy": True, "offset": settings["offset"], "rate": settings["learn_rates"]}
    expected["advantage"] = settings["learned_advantage"]
    assert learned == {group for group, learns in expected.items() if learns}


def test_the_released_settings_make_an_agent():
  name, case = CASES[0]
  step = Step(name, case, "float32")
  algorithm = norml(step.problem, **RELEASED)
  state = algorithm.init(KEY)
  assert state.params.net["policy"]["network"]["layer_1"]["kernel"].shape == (50, 50)
  updated, metrics = jax.jit(algorithm.update)(state, step.tasks, KEY)
  assert np.isfinite(metrics["inner_loss_0"])
  assert np.any(updated.params.rule["offset"]["network"]["layer_0"]["kernel"])


def test_there_is_a_reference():
  assert len(CASES) >= 3
