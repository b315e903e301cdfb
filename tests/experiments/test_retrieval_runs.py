"""Runs that adapt to retrieved rows: trained, stopped, loaded, evaluated with retrieval and without."""

import json
from pathlib import Path

import numpy as np
import pytest
from miniatures import EVERY, STEPS, changed, copy_run, end_of, make_config, rows_of, run_silently, stop_at

from experiments import evaluate, evaluation_request
from experiments.evaluate import evaluate_run
from experiments.evaluation_request import Request, changes_for_steps, plan
from macaw_jax import load_run
from macaw_jax.adaptation.retrieval import REFERENCE
from macaw_jax.data import reward_model
from macaw_jax.data.dataset import load_dataset, read_episodes
from macaw_jax.data.manifest import read_manifest
from macaw_jax.errors import ConfigurationError

pytestmark = pytest.mark.usefixtures("compiled_once", "quick_fit")

ROWS, KEPT = 16, 20
RETRIEVAL = {"retrieval__enabled": True, "retrieval__rows": ROWS, "retrieval__rows_per_task": KEPT}


@pytest.fixture(scope="module")
def quick_fit():
  """A fit that is not worth much: which rows are retrieved does not matter here."""
  with pytest.MonkeyPatch.context() as patch:
    for name in ("TRUNK_FIT", "CLASSIFIER_FIT"):
      patch.setattr(reward_model, name, getattr(reward_model, name) | {"steps": 10})
    yield


@pytest.fixture(scope="module")
def retrieving(data, tmp_path_factory, compiled_once, quick_fit):
  """A run with retrieval: its configuration, and what it said."""
  config = changed(make_config("recorded", data, tmp_path_factory.mktemp("retrieving") / "run"), **RETRIEVAL)
  return config, run_silently(config)


@pytest.fixture
def directory(retrieving, tmp_path):
  """The run with retrieval, for a test to change."""
  return Path(copy_run(retrieving[0], tmp_path / "retrieving").output_directory)


@pytest.fixture
def plain(copied):
  """The same run without, for a test to change."""
  return Path(copied("recorded").output_directory)


def edit_config(directory, edit):
  """Changes the configuration that a run has written."""
  document = json.loads((directory / "config.json").read_text())
  edit(document["config"])
  (directory / "config.json").write_text(json.dumps(document))


def with_few_rows(config):
  config["retrieval"] |= {"rows": ROWS, "rows_per_task": KEPT}


def rows_on(directory, **asked):
  """The rows of a run that is evaluated on its own supports after one step."""
  return evaluate_run(plan(directory, Request(**{"steps": (0, 1), "episodes": 1} | asked)))


def command(*arguments):
  evaluate.main(evaluate.parser().read([str(each) for each in arguments]))


def names(directory, kind):
  return sorted(path.name for path in directory.glob(f"{kind}_*.json"))


# Training


def test_it_trains_as_the_run_without_and_adapts_otherwise(retrieving, trained):
  config, said = retrieving
  assert said.count("fitting the rewards of the training tasks, by which rows are retrieved ...") == 1
  document = json.loads(Path(config.output_directory, "config.json").read_text())
  wanted = {"differ_in": "rewards", "rows": ROWS, "rows_per_task": KEPT, "draw": "mean"}
  assert document["agent"]["retrieval"] == wanted
  assert document["config"]["retrieval"] == {"enabled": True, "rows": ROWS, "rows_per_task": KEPT, "draw": "mean"}

  rows, without = (rows_of(each.output_directory) for each in (config, trained("recorded").config))
  losses = [[row for row in each if "skipped_updates" in row] for each in (rows, without)]
  assert len(losses[0]) == len(losses[1]) == STEPS // 2
  for one, other in zip(*losses, strict=True):
    assert one.keys() == other.keys()
    np.testing.assert_allclose([*one.values()], [*other.values()], rtol=1e-5)
  returns = [[row["test/return_after"] for row in each if "test/return_after" in row] for each in (rows, without)]
  assert np.all(np.not_equal(*returns))
  assert (
    "retrieval" not in json.loads(Path(trained("recorded").config.output_directory, "config.json").read_text())["agent"]
  )


def test_stopped_and_resumed_it_ends_bit_for_bit_as_one_that_is_not(retrieving, tmp_path, monkeypatch):
  config = changed(retrieving[0], output_directory=str(tmp_path / "run"))
  stop_at(EVERY, config, monkeypatch)
  run_silently(config)
  assert end_of(config.output_directory) == end_of(retrieving[0].output_directory)


def test_other_settings_of_retrieval_are_another_run(directory, retrieving):
  config = changed(retrieving[0], output_directory=str(directory))
  with pytest.raises(ConfigurationError, match=r"config\.retrieval\.rows = 16, this one has 32"):
    run_silently(changed(config, retrieval__rows=32))
  with pytest.raises(ConfigurationError, match=r"config\.retrieval\.enabled = True, this one has False"):
    run_silently(changed(config, retrieval__enabled=False))


def test_it_is_loaded_and_adapts_to_rows_that_it_holds(retrieving, data):
  agent = load_run(retrieving[0].output_directory)
  assert agent.step == STEPS
  reference = agent.params.net[REFERENCE]
  assert reference.rows.reward.shape == (3, KEPT)
  # They are rows of the training tasks, scaled.
  mean, std, scale = (np.asarray(each) for each in agent.statistics)
  dataset = load_dataset(data, tasks=read_manifest(data).train_tasks)
  for task in range(3):
    recorded = {tuple(np.round(row, 4)) for row in (dataset.observation[task] - mean) / std}
    assert {tuple(np.round(row, 4)) for row in np.asarray(reference.rows.observation[task])} <= recorded
    assert np.ptp(reference.rows.reward[task]) <= np.ptp(dataset.reward[task]) / scale + 1e-5

  episodes = read_episodes(data, read_manifest(data), 3)
  adapted = agent.adapt(episodes)
  assert REFERENCE not in adapted
  before, after = (agent.act(each, [0.1, 0.2])[0] for each in (agent.prior(), adapted))
  assert np.isfinite([before, after]).all()
  assert not np.array_equal(before, after)


# Evaluation


def test_a_run_without_is_evaluated_both_ways(plain, capsys, monkeypatch):
  """On one kind of support, which takes a fifth of the time of all."""
  monkeypatch.setattr(evaluation_request, "supports_of", lambda config, dataset: ("own",))
  edit_config(plain, with_few_rows)
  kind, ending = "context_shift", f"update_{STEPS}_episodes_1"
  command(plain, "--support=all", "--episodes=1", "--retrieval=both")
  said = capsys.readouterr().out
  assert names(plain, kind) == [f"{kind}_{ending}.json", f"{kind}_{ending}_retrieval_{ROWS}-{KEPT}-mean.json"]
  labels = [line.split("|")[1].strip() for line in said.splitlines() if line.startswith("| macaw")]
  assert labels == ["macaw", "macaw + retrieval"] * 2  # by scores and by returns
  assert said.count("fitting the rewards of the training tasks") == 1
  with_retrieval = json.loads((plain / f"{kind}_{ending}_retrieval_{ROWS}-{KEPT}-mean.json").read_text())
  assert with_retrieval["evaluation"]["retrieval"] == [ROWS, KEPT, "mean"]
  # Both are there, and are taken again; that without is as the command has it without the flag.
  command(plain, "--support=all", "--episodes=1", "--retrieval=both", "--reuse")
  assert capsys.readouterr().out.count("taking the rows of") == 2
  command(plain, "--support=all", "--episodes=1", "--reuse")
  assert f"taking the rows of {plain / f'{kind}_{ending}.json'}" in capsys.readouterr().out


def test_retrieval_changes_nothing_but_what_is_adapted_to(plain, directory):
  """The run without, evaluated with retrieval, is the run with it; and the other way round."""
  edit_config(plain, with_few_rows)
  returns = lambda rows: [(row.task_index, row.returns) for row in rows]  # noqa: E731
  with_retrieval, without = returns(rows_on(directory)), returns(rows_on(plain))
  assert with_retrieval != without
  assert returns(rows_on(plain, retrieval=True)) == with_retrieval
  assert returns(rows_on(directory, retrieval=False)) == without
  assert returns(rows_on(directory, retrieval=True)) == with_retrieval
  usual = f"evaluation_offline_update_{STEPS}_steps_0-1_episodes_1"
  assert names(plain, "evaluation") == [f"{usual}.json", f"{usual}_retrieval_{ROWS}-{KEPT}-mean.json"]
  assert names(directory, "evaluation") == [f"{usual}.json", f"{usual}_retrieval_none.json"]


def test_a_run_whose_configuration_lacks_the_section_is_evaluated(plain):
  expected = rows_on(plain)
  edit_config(plain, lambda config: config.pop("retrieval"))
  assert rows_on(plain) == expected
  assert len(names(plain, "evaluation")) == 1  # the same evaluation
  usual = plan(plain, Request(retrieval=True)).config.retrieval
  assert (usual.enabled, usual.rows, usual.rows_per_task, usual.draw) == (True, 1_024, 1_000, "mean")


def test_retrieved_rows_grow_with_the_number_of_steps_that_share_them(directory):
  """Sixteen rows are no multiple of three."""
  planned = plan(directory, Request(steps=(0, 3)))
  changes = changes_for_steps(planned.config, planned.steps_field, 3)
  assert changes == {"algorithm.adaptation_steps": 3, "evaluation.support_size": 48, "retrieval.rows": 3 * ROWS}
  (one, other) = rows_on(directory, steps=(0, 3))
  assert one.stages == other.stages == (0, 3)
  assert np.isfinite([one.returns, other.returns]).all()
