"""The probe on agents whose adaptation is known."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from miniatures import changed, make_config, make_focal, make_untrained, write_point_robot

from experiments import build
from experiments.build import rebuild
from experiments.probe import fit_to_training_tasks, plan, probe_run, probe_table, probed_config
from macaw_jax.errors import ConfigurationError


@pytest.fixture(scope="module")
def known_tasks(tmp_path_factory):
  """A dataset whose test tasks are its training tasks."""
  directory = tmp_path_factory.mktemp("data") / "known"
  everything = tuple(range(5))
  write_point_robot(directory, train_tasks=everything, test_tasks=everything, tasks_shared_by_splits=True)
  return directory


@pytest.fixture
def probed(known_tasks, tmp_path, monkeypatch):
  """A function that probes an agent with this adaptation: `(support) -> latent`."""

  make_algorithm = build.make_algorithm

  def probe(latent, episodes=4):
    def with_adaptation(*arguments, **options):
      return make_algorithm(*arguments, **options)._replace(
        adapt=lambda params, support, key: {"latent": latent(support)}
      )

    config = make_focal(known_tasks, tmp_path / "run", **{"encoder.latent_size": 2})
    # Of 200 rows, so that little is left to chance.
    directory = make_untrained(changed(config, evaluation__support_size=160))
    monkeypatch.setattr(build, "make_algorithm", with_adaptation)
    rows = {row["support"]: row for row in probe_run(plan(directory, episodes, 0))}
    (file,) = directory.glob("probe_*.json")
    assert file.name == f"probe_update_0_episodes_{episodes}.json"
    document = json.loads(file.read_text())
    assert document["rows"] == list(rows.values())
    assert document["evaluation"]["protocols"] == [row["protocol"] for row in rows.values()]
    return rows

  return probe


def goal_seen(support):
  """Where the reward is highest: near the goal, if the support came there."""
  return support.observation[jnp.argmax(support.reward)]


def place_seen(support):
  """The mean position: near the goal where the behaviour walks to it, and nowhere else."""
  return jnp.mean(support.observation, axis=0)


def test_an_agent_that_reads_rewards_is_lost_without_them(probed):
  rows = probed(goal_seen)
  assert rows.keys() == {"own", "random"}
  for row in rows.values():
    assert row["r_squared"] > 0.8
    assert row["error"] < 0.3 * row["chance"]
    assert row["error_constant_rewards"] > 5 * row["error"]
    # The highest reward stays where it is after a shift, and moves with noise as large as the rewards.
    assert row["error_shifted_rewards"] == row["error"]
    assert row["error_noisy_rewards"] > 2 * row["error"]
    assert row["error_noisy_rewards"] > row["error_slightly_noisy_rewards"]
  assert rows["own"]["return"] != rows["own"]["return_constant_rewards"]
  # The rewards of the task decide, whoever acted.
  assert rows["own"]["error_exchanged_behaviour"] < 0.6 * rows["own"]["chance"]
  assert "error_exchanged_behaviour" not in rows["random"]


def test_an_agent_that_reads_behaviour_alone_is_found_out(probed):
  rows = probed(place_seen)
  own, random = rows["own"], rows["random"]
  assert own["r_squared"] > 0.8
  assert own["r_squared_constant_rewards"] == own["r_squared"]
  assert own["score_constant_rewards"] == own["score"]
  assert own["error_noisy_rewards"] == own["error"]
  assert own["error_exchanged_behaviour"] > 5 * own["error"]
  assert random["r_squared"] < 0.3
  assert random["error"] > 5 * own["error"]


def test_adapted_weights_are_features_too(data, tmp_path, capsys):
  directory = make_untrained(make_config("recorded", data, tmp_path / "macaw"))
  rows = probe_run(plan(directory, 2, 0))
  assert "64 supports of each of 3 training tasks" in capsys.readouterr().out
  assert all(np.isfinite(value) for row in rows for value in row.values() if not isinstance(value, str))
  lines = probe_table({str(directory): rows}).splitlines()
  cells = [[cell.strip() for cell in line.split("|")[1:3]] for line in lines[2:4]]
  assert cells == [[str(directory), "own"], [str(directory), "random"]]
  assert {line.count("|") for line in lines[:4]} == {15}


def test_no_probe_replaces_another(data, tmp_path):
  directory = make_untrained(make_config("recorded", data, tmp_path / "macaw"))
  names = [plan(directory, episodes, seed).file.name for episodes, seed in ((None, 0), (4, 0), (None, 1))]
  assert names == ["probe_update_0.json", "probe_update_0_episodes_4.json", "probe_update_0_seed_1.json"]


def test_one_training_task_cannot_be_told_from_others(tmp_path):
  write_point_robot(tmp_path / "data", train_tasks=(0,))
  config = changed(make_config("recorded", tmp_path / "data", tmp_path / "macaw"), evaluation__train_tasks=0)
  with pytest.raises(ConfigurationError, match=r"macaw: a probe needs two training tasks or more"):
    plan(make_untrained(config), 2, 0)


def test_runs_that_act_or_collect_are_refused(tmp_path):
  for kind in ("replayed", "on_policy"):
    config = make_config(kind, None, tmp_path / kind)
    (tmp_path / kind).mkdir()
    document = {"format_version": 2, "config": config.to_dict()}
    (tmp_path / kind / "config.json").write_text(json.dumps(document))
    with pytest.raises(ConfigurationError, match=rf"{kind}: expected a run on recorded data"):
      plan(tmp_path / kind, 2, 0)


def test_an_agent_that_has_diverged_is_named(data, tmp_path):
  directory = make_untrained(make_focal(data, tmp_path / "focal"))
  trained = rebuild(directory, probed_config(directory, 2))
  params = jax.tree.map(lambda leaf: np.full_like(leaf, np.nan), trained.params)
  with pytest.raises(ConfigurationError, match=r"focal: features to decode: expected finite values"):
    fit_to_training_tasks(trained._replace(params=params), jax.random.key(0))
