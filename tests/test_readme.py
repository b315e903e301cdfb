"""The programs in the README and in pages of docs/ run, and the files that the README's commands name exist."""

import pathlib
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from macaw_jax.types import Algorithm, TaskBatch, Transition

ROOT = pathlib.Path(__file__).parent.parent


def random_transitions(key, *shape):
  keys = iter(jax.random.split(key, 6))
  draw = lambda *sizes: jax.random.normal(next(keys), (*shape, *sizes))  # noqa: E731
  zeros = jnp.zeros(shape)
  return Transition(draw(20), jnp.tanh(draw(6)), draw(), draw(20), zeros, zeros, draw(), draw(20), zeros)


def programs(page):
  """The blocks of Python of a page."""
  return re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), flags=re.DOTALL)


def run_block(page, containing, **names):
  """The names that the block of a page with this text leaves behind."""
  (block,) = (block for block in programs(page) if containing in block)
  exec(shortened(block), names)
  return names


def shortened(block):
  """The same program with two updates, each a call of its own."""
  return re.sub(r"steps=2_000", "steps=2, steps_per_call=1", block).replace("evaluate_every=500", "evaluate_every=2")


def losses_of(algorithm, names, updates=20):
  """The sum of these metrics at each update on one batch."""
  key = jax.random.key(0)
  tasks = TaskBatch(random_transitions(key, 2, 16), random_transitions(key, 2, 16), jnp.arange(2))
  state, update = algorithm.init(key), jax.jit(algorithm.update)
  losses = []
  for _ in range(updates):
    state, metrics = update(state, tasks, key)
    losses.append(sum(weight * float(metrics[name]) for name, weight in names.items()))
  assert np.all(np.isfinite(losses))
  return losses


def test_a_script_trains_evaluates_loads_adapts_and_acts(tmp_path, monkeypatch, capsys):
  monkeypatch.chdir(tmp_path)
  rows = random_transitions(jax.random.key(0), 30)
  names = run_block(
    "README.md",
    "load_run",
    observations=rows.observation,
    actions=rows.action,
    rewards=rows.reward,
    next_observations=rows.next_observation,
    observation=rows.observation[0],
  )
  assert "test mean of 2 tasks" in capsys.readouterr().out
  assert names["agent"].step == 2
  assert names["action"].shape == (6,)


def test_losses_and_actor_critics_are_exchanged(tmp_path):
  names = run_block("README.md", "brac")
  losses = losses_of(names["gentle"], {"policy_loss": 1.0, "action_size": 0.01})
  assert losses[-1] < losses[0]
  assert isinstance(names["cautious"], Algorithm)


def test_an_agent_is_evaluated_while_it_trains(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  assert run_block("docs/api.md", "load_data")["agent"].step == 2
  assert "test/score_after" in (tmp_path / "runs/focal-expectile/metrics.jsonl").read_text()


def test_an_algorithm_is_made_of_parts():
  algorithm = run_block("docs/api.md", "meta_learner")["algorithm"]
  losses = losses_of(algorithm, {"policy_loss": 1.0, "action_size": 0.01})
  assert losses[-1] < losses[0]


def test_an_encoder_and_an_actor_critic_are_values():
  assert isinstance(run_block("docs/algorithms/README.md", "metric_encoder")["algorithm"], Algorithm)


def test_the_environment_of_brax_is_one():
  env = run_block("docs/families/README.md", "as_brax_env")["env"]
  state = jax.jit(env.reset)(jax.random.key(0))
  assert state.info["task_index"] == 3
  assert jax.jit(env.step)(state, jnp.ones(env.action_size)).reward < 0


PAGES = ["README.md", "CONTRIBUTING.md", *sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("docs/**/*.md"))]


@pytest.mark.parametrize("page", PAGES)
def test_configurations_and_pages_that_a_page_names_exist(page):
  text = (ROOT / page).read_text()
  for config in re.findall(r"--config=(configs/[\w/]+\.py)", text):
    assert (ROOT / config).is_file() or config in EXAMPLES, config
  for command in re.findall(r"python -m (experiments|benchmarks)\.(\w+)", text):
    assert (ROOT / "/".join(command)).with_suffix(".py").is_file(), command
  for link in re.findall(r"\]\(([^):]+)\)", re.sub(r"`[^`\n]*`", "`", text)):
    target, _, anchor = link.partition("#")
    file = (ROOT / page).parent / target if target else ROOT / page
    assert file.exists(), link
    assert not anchor or anchor in anchors(file), link


EXAMPLES = ("configs/expectile_macaw.py", "configs/mecaw.py")  # of CONTRIBUTING.md; of the page of wrong configurations


def anchors(file):
  """The names of a page's headings in links."""
  headings = re.findall(r"^#+ (.*)$", file.read_text(), flags=re.MULTILINE)
  return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_public_name_has_a_line():
  import macaw_jax

  page = (ROOT / "docs/api.md").read_text()
  assert [name for name in macaw_jax.__all__ if f"`{name}" not in page] == []
