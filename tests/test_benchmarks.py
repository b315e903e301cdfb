"""Every benchmark runs, at a toy size. Its figures are not looked at here."""

import contextlib
import importlib
import json
import pathlib
import re
import subprocess
import sys

import jax
import numpy as np
import optax
import pytest
from absl import flags

from benchmarks import budget, carry_wheels, measure, peer_versions, update_versions
from benchmarks.sizes import BENCHMARKS
from macaw_jax.data import reward_model

ROOT = pathlib.Path(__file__).parent.parent
SMALL_NETWORKS = ["--option=--config.algorithm.layer=dense", "--option=--config.algorithm.hidden_sizes=(8,8)"]


@contextlib.contextmanager
def flags_of(module, *arguments):
  """A module imported anew, its flags parsed; flags of other modules are put aside until the block ends.

  Benchmarks name flags alike: each is the only one of its process otherwise.
  """
  values = flags.FLAGS
  module_of = {name: values.find_module_defining_flag(name) or "" for name in values}
  others = {name: values[name] for name, place in module_of.items() if not place.startswith("absl.")}
  modules = {
    name: sys.modules[name] for name in list(sys.modules) if name.split(".")[0] in ("benchmarks", "experiments")
  }
  was_parsed = values.is_parsed()
  for name in others:
    delattr(values, name)
  for name in modules:
    del sys.modules[name]
  try:
    imported = importlib.import_module(module)
    yield imported, values([module, *arguments])
  finally:
    for name in set(values) - (module_of.keys() - others.keys()):
      delattr(values, name)
    for name, flag in others.items():
      values[name] = flag
    if not was_parsed:
      values.unparse_flags()
    for name in [name for name in sys.modules if name.split(".")[0] in ("benchmarks", "experiments")]:
      del sys.modules[name]
    sys.modules.update(modules)


@pytest.fixture
def rows_of(tmp_path, capsys):
  """`(benchmark, *arguments)`: runs a benchmark in this process and returns the rows that it writes."""

  def run(benchmark, *arguments):
    output = tmp_path / "results.json"
    with flags_of(f"benchmarks.{benchmark}", *arguments, f"--output={output}") as (module, rest):
      module.main(rest)
    assert len(re.findall(r"^\| -", capsys.readouterr().out, flags=re.MULTILINE)) == 1  # one table
    record = json.loads(output.read_text())
    assert record["benchmark"] == benchmark
    assert record["environment"]["versions"]["jax"]
    return record["rows"]

  return run


def test_the_evaluator_and_gymnasium_step_the_same_physics(rows_of):
  pytest.importorskip("imageio")  # Gymnasium's half-cheetah asks for it, though it draws nothing.
  sizes = ["--episodes=1", "--mjx_episodes=1", "--steps=3", "--repeats=1"]
  native, mjx, sequential, parallel = rows_of("rollout", *sizes)
  assert [native["episodes"], mjx["episodes"], sequential["episodes"], parallel["episodes"]] == [2] * 4
  assert sequential["ratio"] == 1.0
  assert native["physics_difference"]["1"] < 1e-12
  assert native["physics_difference"]["10"] < 1e-9


def test_compiled_episodes_and_updates_are_timed_against_a_loop_with_the_same_physics(rows_of):
  families = "point_rotated_sparse,cartpole_bias,cheetah_swapped"
  sizes = ["--tasks=2", "--episodes=3", "--steps=4", "--cheetah_episodes=1", "--cheetah_steps=2", "--rollouts=1"]
  rows = rows_of("sampled_rollout", f"--families={families}", *sizes, "--updates=1", "--repeats=1")
  work = [("rollout", family) for family in families.split(",")]
  work += [(f"{arm} update", "cartpole_bias") for arm in ("norml", "maml")]
  assert [(row["work"], row["family"]) for row in rows[::2]] == work
  assert [(row["work"], row["family"]) for row in rows[1::2]] == work
  assert all(row["ratio"] == 1.0 for row in rows[1::2])
  assert all(row["steps_per_second"]["median"] > 0.0 for row in rows)
  sparse, _, cart, *_ = rows
  assert max(sparse["physics_difference"], cart["physics_difference"]) < 1e-5


def test_adaptation_to_retrieved_rows_is_timed_against_the_plain_one(rows_of, monkeypatch):
  for name in ("TRUNK_FIT", "CLASSIFIER_FIT"):
    monkeypatch.setattr(reward_model, name, getattr(reward_model, name) | {"steps": 2})
  rows = rows_of("adaptation", "--only=multitask_bc", "--tasks=2", "--rows=300", "--batch=2", "--repeats=1")
  assert [(row["version"], row["adaptations"]) for row in rows] == [
    ("plain", 1),
    ("retrieval", 1),
    ("plain", 2),
    ("retrieval", 2),
  ]
  assert [row["ratio"] for row in rows[::2]] == [1.0, 1.0]
  assert all(row["median"] > 0.0 for row in rows)


def test_sampling_is_timed_against_a_shuffle_and_the_host(rows_of):
  sizes = ["--rows=50", "--rows=100", "--tasks=2", "--batch=8", "--batches=2", "--repeats=1"]
  rows = rows_of("sampling", *sizes)
  assert [row["rows"] for row in rows] == [50] * 3 + [100] * 3
  assert [row["ratio"] for row in rows if row["version"].startswith("macaw_jax")] == [1.0, 1.0]


def test_the_collector_is_timed_by_its_parts(rows_of):
  (row,) = rows_of("collect", "--families=point_robot", "--rounds=3", "--updates=2")
  assert row["steps_a_round"] == 20 * 20
  assert row["ratio"] > 1.0
  assert sum(row["shares"].values()) == pytest.approx(1.0)


def test_training_is_timed_against_its_bare_update(rows_of):
  sizes = ["--tasks=2", "--batch=4", "--width=4", "--rows=20", "--updates=2", "--repeats=1"]
  bare, _, training = rows_of("loop_overhead", *sizes)
  assert bare["overhead_percent"] == 0.0
  assert training["processor_ms"]["median"] > 0.0


def test_memory_and_time_of_the_memory_switches_stand_beside_the_plain_update(rows_of):
  sizes = ["--tasks=2", "--inner_steps=2", "--batch=9", "--width=4", "--updates=1", "--repeats=1"]
  plain, *others = rows_of("memory", *sizes)
  assert (plain["version"], plain["batch"], plain["temp_ratio"], plain["time_ratio"]) == ("plain", 8, 1.0, 1.0)
  assert {row["version"] for row in others} >= {"rematerialised", "first order", "bfloat16 products"}
  assert all(row["temp_bytes"] > 0 and row["argument_bytes"] > 0 and row["output_bytes"] > 0 for row in others)


def test_a_population_is_timed_against_one_member(rows_of):
  sizes = ["--members=2", "--tasks=2", "--batch=4", "--width=4", "--updates=1", "--repeats=1"]
  alone, both = rows_of("population", *sizes)
  assert (alone["members"], alone["size"]) == ("alone", 1)
  assert (both["members"], both["size"]) == ("2 in one program", 2)
  assert both["seconds"]["median"] > 0.0


def test_every_kind_of_algorithm_is_timed_beside_macaw(rows_of):
  sizes = ["--only=focal", "--num_tasks=2", "--num_rows=520", "--num_updates=1", "--num_repeats=1"]
  macaw, focal = rows_of("algorithms", *sizes)
  assert (macaw["version"], macaw["ratio"]) == ("macaw", 1.0)
  assert focal["version"] == "focal"
  assert focal["processor_ms"]["median"] > 0.0


def test_trials_are_timed_by_their_parts(rows_of):
  sizes = ["--families=point_robot", "--algorithms=rl2", "--tasks=2", "--repeats=2"]
  update, collect, physics = rows_of("trials", *sizes)
  assert (update["part"], update["share"], update["ratio"]["median"]) == ("update", 1.0, 1.0)
  assert update["steps"] == collect["steps"] == physics["steps"] == 2 * 3 * 20
  assert collect["share"] > 0.0
  assert physics["share"] > 0.0


def test_known_tasks_have_all_their_episodes_counted(rows_of):
  update, *_ = rows_of("trials", "--families=maze_8+task_index", "--algorithms=multitask_ppo", "--repeats=2")
  assert update["steps"] == 8 * 32 * 60


def test_iterations_with_a_replay_buffer_are_timed_by_their_parts(rows_of):
  updates, episodes, physics = rows_of("replay", "--agents=multitask_sac:point_robot", "--repeats=2")
  assert updates["updates"] == 200
  assert episodes["steps"] == physics["steps"] == 20 * 20
  assert updates["share"] + episodes["share"] == pytest.approx(1.0)
  assert physics["share"] > 0.0


def test_limits_count_the_products_of_an_update(rows_of):
  sizes = ["--tasks=2", "--batch=8", "--width=4", "--updates=2", "--repeats=1", "--matrix=16", "--elements=1000"]
  (row,) = rows_of("limits", *sizes)
  groups = row["groups"]
  assert groups["networks"]["flops"] > 0
  assert groups["generator"]["flops"] > 0
  # Neither has a matrix product.
  assert groups["optimizer"]["flops"] == groups["sampling"]["flops"] == 0
  assert all(groups[name]["profile_seconds"] > 0 for name in ("networks", "generator", "optimizer"))


def test_starts_are_timed_by_their_phases(rows_of):
  cold, warm = rows_of("start_up", "--episodes=1", "--repeats=1", *SMALL_NETWORKS)
  assert cold["ratio"] == 1.0
  for start in (cold, warm):
    *phases, whole = (spread["median"] for spread in start["seconds"].values())
    assert len(phases) == 5
    assert whole == pytest.approx(sum(phases))


def test_a_score_is_waited_for(rows_of):
  sizes = ["--seeds=1", "--steps=1", "--evaluate_every=1", "--episodes=1", "--score=-50"]
  (run,) = rows_of("end_to_end", *sizes, *SMALL_NETWORKS)
  assert [point["updates"] for point in run["evaluations"]] == [0, 1]
  assert run["reached"] == run["evaluations"][0]
  assert run["end"] == run["evaluations"][1]


def test_pytorch_and_ours_are_trained_to_a_score(rows_of):
  pytest.importorskip("torch")
  sizes = ["--width=4", "--evaluate_every=1", "--episodes=1", "--limit=0.0001", "--score=1000"]
  theirs, ours = rows_of("time_to_score", *sizes)
  assert (theirs["side"], ours["side"]) == ("pytorch", "macaw_jax")
  for row in (theirs, ours):
    before, after = row["evaluations"]
    assert (before["updates"], before["seconds"], after["updates"]) == (0, 0.0, 1)
    assert row["end"] == after
    assert not row["reached"]
  assert theirs["evaluations"][0] == ours["evaluations"][0]  # They start from the same agent.


def test_parameters_of_pytorch_come_back_as_ours():
  params = jax.jit(update_versions.our_macaw(update_versions.Sizes(width=4), optax.adam).init)(jax.random.key(0)).params
  with flags_of("benchmarks.time_to_score") as (module, _):
    back = module.with_arrays(params, update_versions.named_arrays(params))
  jax.tree.map(np.testing.assert_array_equal, params, back)


@pytest.mark.parametrize("method", peer_versions.METHODS)
def test_each_method_is_timed_beside_its_authors_structure(rows_of, method):
  pytest.importorskip("torch")
  sizes = ["--tasks=2", "--context=8", "--rows=6", "--episodes=2", "--steps=4", "--width=4"]
  (row,) = rows_of("peers", f"--only={method}", *sizes, "--updates=1", "--repeats=2")
  assert row["method"] == method
  assert row["gradient_difference"] < 1e-3
  assert row["processor_ms"]["pytorch"]["median"] > 0.0
  low, ratio, high = row["ratio"].values()
  assert low <= ratio <= high


def test_gradients_that_differ_are_not_timed():
  with flags_of("benchmarks.peers") as (module, _):

    def version(value):
      return update_versions.Version(lambda tasks: {"q/W": np.ones(2), "q/b": np.full(3, value)}, prepare=None)

    def peer(value):
      return module.Peer({"macaw_jax": version(1.0), "pytorch": version(value)}, tasks=None)

    assert module.compare(peer(1.001)) == pytest.approx(1e-3)
    with pytest.raises(SystemExit, match=r"pytorch computes another gradient than macaw_jax: q/b differs by 2.0e-02"):
      module.compare(peer(1.02))
    with pytest.raises(SystemExit, match="another gradient"):
      module.compare(peer(np.nan))


def test_a_tensor_that_nearly_cancels_counts_with_its_network():
  reference = {"q/W": np.array([1.0]), "q/b": np.array([1e-9]), "v/b": np.array([1e-9])}
  assert peer_versions.largest_difference(reference | {"q/b": np.array([2e-9])}, reference)[0] == pytest.approx(1e-6)
  assert peer_versions.largest_difference(reference | {"v/b": np.array([2e-9])}, reference) == (
    pytest.approx(1.0),
    "v/b",
  )


def test_the_ratio_of_rounds_that_are_slow_for_both_is_certain():
  assert measure.ratio_of_medians([2.0, 4.0, 20.0], [1.0, 2.0, 10.0]) == pytest.approx((2.0, 2.0, 2.0))
  low, ratio, high = measure.ratio_of_medians([2.0, 2.0, 8.0], [1.0, 2.0, 1.0])
  assert ratio == 2.0
  assert low < ratio < high


def test_all_benchmarks_can_be_run_by_one_command(tmp_path, capsys, monkeypatch):
  with flags_of("benchmarks.run", "--only=sampling", f"--output={tmp_path / 'results'}") as (module, rest):
    asked = []
    monkeypatch.setattr(module, "stamped_lines", lambda arguments: asked.append(arguments) or [(0.0, "| a table |")])
    module.main(rest)
  ((_, name, *_, output),) = asked
  assert (name, output) == ("benchmarks.sampling", f"--output={tmp_path / 'results' / 'sampling'}.json")
  shown = capsys.readouterr().out
  assert "python -m benchmarks.sampling --rows=" in shown
  assert "| a table |" in shown


def test_every_benchmark_belongs_to_that_command():
  named = {path.stem for path in (ROOT / "benchmarks").glob("*.py") if "app.run(main)" in path.read_text()}
  assert named == {*BENCHMARKS, "run", "accelerator"}  # The last has a command of its own.


def test_update_step_compares_and_times_the_versions_in_jax(tmp_path, capsys):
  sizes = ["--tasks=2", "--batch=8", "--width=8", "--updates=2", "--repeats=2"]
  output = tmp_path / "rows.json"
  arguments = [*sizes, "--versions=jax_copying", f"--output={output}"]
  with flags_of("benchmarks.update_step", *arguments) as (module, rest):
    module.main(rest)
  shown = capsys.readouterr().out
  differences = re.findall(r"meta-gradient tensor, \w+: (\S+)", shown)
  assert len(differences) == 2
  assert max(map(float, differences)) < 1e-3
  rows = [line.strip("| ").split(" | ") for line in shown.splitlines() if line.startswith("| ")]
  assert [row[0].strip() for row in rows[2:]] == ["macaw_jax", "jax_copying"]
  assert float(rows[2][3]) == 1.0
  assert float(rows[3][3]) > 0
  assert [row["version"] for row in json.loads(output.read_text())["rows"]] == ["macaw_jax", "jax_copying"]


@pytest.mark.parametrize(
  "changes",
  [{}, {"inner_steps": 2}, {"layer": "dense"}, {"layer": "bias_transform", "inner_steps": 2, "first_order": True}],
  ids=str,
)
def test_pytorch_computes_our_meta_gradient(changes):
  pytest.importorskip("torch")
  sizes = update_versions.Sizes(tasks=2, batch=8, width=8)._replace(**changes)
  dataset = update_versions.make_dataset(sizes)
  tasks = update_versions.sample(sizes, dataset, jax.random.key(2))
  names = ["macaw_jax", "torch_loop", "torch_factored"]
  versions, failures = update_versions.build_versions(names, sizes, dataset)
  assert not failures
  assert max(update_versions.compare(versions, tasks).values()) < 1e-3


def test_another_meta_gradient_ends_the_benchmark():
  def version(value):
    return update_versions.Version(lambda tasks: {"a": np.ones(2), "b": np.full(3, value)}, prepare=None)

  with pytest.raises(SystemExit, match=r"other computes another meta-gradient than macaw_jax"):
    update_versions.compare({"macaw_jax": version(1.0), "other": version(1.02)}, tasks=None)
  with pytest.raises(SystemExit, match=r"other computes another meta-gradient than macaw_jax: nan"):
    update_versions.compare({"macaw_jax": version(1.0), "other": version(np.nan)}, tasks=None)


def test_engines_are_timed_and_compared(capsys):
  sizes = ["--families=point_robot,cheetah_dir", "--episodes=2", "--repeats=1"]
  with flags_of("benchmarks.engines", *sizes) as (module, rest):
    module.main(rest)
  rows = [line.strip("| ").split(" | ") for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
  assert [row[0] for row in rows] == ["family", "point_robot", "cheetah_dir"]
  assert rows[1][3] == rows[1][8] == "-"  # it has no native engine
  assert float(rows[2][3].replace(",", "")) > 0
  assert float(rows[2][8]) < 1e-6


def out_of_memory():
  raise RuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate 12 bytes.\nmore")


def not_there():
  raise ModuleNotFoundError("No module named 'brax'")


def test_rows_are_measured_while_there_is_time_and_left_out_with_a_reason(capfd):
  now = [0.0]

  def takes(seconds):
    def run():
      now[0] += seconds
      return {"took": seconds}

    return run

  jobs = [
    budget.Job("short", "first", takes(10.0), guess=50.0),
    budget.Job("other", "without a package", not_there, guess=1.0),
    budget.Job("other", "too large", out_of_memory, guess=1.0),
    budget.Job("long", "too long", takes(1.0), guess=91.0),
    budget.Job("short", "second", takes(80.0), guess=1000.0),
    budget.Job("short", "third", takes(1.0)),
    budget.Job("long", "short after all", takes(1.0), guess=10.0),
  ]
  seen = []
  outcome = budget.run_jobs(jobs, 100.0, lambda so_far: seen.append(len(so_far.rows)), clock=lambda: now[0])
  assert [row["name"] for row in outcome.rows] == ["first", "second", "short after all"]
  assert outcome.left_out == [
    budget.LeftOut("without a package", "cannot be imported: No module named 'brax'"),
    budget.LeftOut("too large", "RuntimeError: RESOURCE_EXHAUSTED: Out of memory while trying to allocate 12 bytes."),
    budget.LeftOut("too long", "no time: 90 s were left, about 91 s are needed"),
    budget.LeftOut("third", "no time: 10 s were left, about 80 s are needed"),
  ]
  assert seen == [1, 1, 1, 1, 2, 2, 3]
  assert capfd.readouterr().err == ""  # nothing unexpected


def accelerator(tmp_path, *arguments):
  """Runs the command at its small sizes; its JSON, and its Markdown."""
  command = [sys.executable, "-m", "benchmarks.accelerator", "--small", f"--output={tmp_path}", *arguments]
  result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
  assert result.returncode == 0, result.stderr
  assert {path.name for path in tmp_path.iterdir()} == {"accelerator.json", "accelerator.md"}
  return json.loads((tmp_path / "accelerator.json").read_text()), (tmp_path / "accelerator.md").read_text()


def test_the_accelerator_is_measured_and_what_is_missing_is_said(tmp_path):
  record, text = accelerator(tmp_path, "--only=rates,focal,torch")
  machine, focal, *of_torch = record["rows"]
  assert all(rate > 0 for rate in (*machine["flops"].values(), machine["bytes"]))
  assert (focal["work"], focal["members"]) == ("focal", 2)
  assert focal["flops"] > 1e6
  assert focal["share_of_products"] > 0
  assert focal["share_of_bandwidth"] > 0
  assert focal["memory_bytes"] > 1e6
  assert "| focal | 2 members | float32     |" in text
  left_out = {each["name"] for each in record["left_out"]}
  assert left_out | {row["work"] for row in of_torch} == {"torch_factored", "torch_loop", "torch_compiled"}
  assert all(f"- left out: {name}: " in text for name in left_out)


@pytest.mark.slow
def test_all_of_the_accelerators_rows_run(tmp_path):
  record, text = accelerator(tmp_path)
  assert {row["work"] for row in record["rows"]} >= {"rates", "macaw", "focal", "pearl_offline", "cheetah_dir"}
  assert {each["name"] for each in record["left_out"]} <= {"torch_factored", "torch_loop", "torch_compiled"}
  assert len(re.findall(r"^\| -", text, flags=re.MULTILINE)) == 1  # one table


LOCK = """
jax==0.10.2 ; python_full_version < '3.12' \\
    --hash=sha256:aa \\
    --hash=sha256:ab
jax==0.12.0 ; python_full_version >= '3.12' \\
    --hash=sha256:ac
brax==0.14.2 \\
    --hash=sha256:ba
"""


def test_wheels_to_carry_are_those_of_the_lock():
  entries = carry_wheels.locked(LOCK)
  lines = carry_wheels.chosen(entries, ["brax", "jax"], "3.12")
  assert list(map(carry_wheels.without_marker, lines)) == [
    "brax==0.14.2 --hash=sha256:ba",
    "jax==0.12.0 --hash=sha256:ac",
  ]
  (line,) = carry_wheels.chosen(entries, ["jax"], "3.11")
  assert carry_wheels.without_marker(line) == "jax==0.10.2 --hash=sha256:aa --hash=sha256:ab"
  with pytest.raises(SystemExit, match=r"flax: requirements\.lock has no version of it for Python 3\.12"):
    carry_wheels.chosen(entries, ["flax"], "3.12")
  assert carry_wheels.missing(["numpy", "surely-not-installed"]) == ["surely-not-installed"]


def test_wheels_are_dealt_out_in_pieces_of_a_size():
  sizes = {pathlib.Path(name): size for name, size in (("a", 30), ("b", 70), ("c", 40), ("d", 120), ("e", 30))}
  groups = [[path.name for path in group] for group in carry_wheels.packed(sizes, most=100)]
  assert groups == [["d"], ["b", "a"], ["c", "e"]]
