"""The rules of SECURITY.md: what the code never names, and what a run never does."""

import ast
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from miniatures import write_point_robot

ROOT = Path(__file__).parents[1]
SOURCES = ("macaw_jax", "experiments", "configs")

FORBIDDEN_MODULES = {
  # They run what they read.
  *("pickle", "_pickle", "cPickle", "dill", "cloudpickle", "jsonpickle", "joblib", "marshal", "shelve"),
  # They reach other machines.
  *("socket", "socketserver", "ssl", "http", "urllib", "urllib2", "urllib3", "xmlrpc", "ftplib", "telnetlib"),
  *("smtplib", "requests", "httpx", "aiohttp", "websockets", "grpc", "wandb", "sentry_sdk"),
  # They run anything.
  *("subprocess", "multiprocessing", "pty", "ctypes", "cffi", "code", "builtins", "runpy"),
}
FORBIDDEN_NAMES = {"eval", "exec", "compile", "__import__", "__builtins__"}
FORBIDDEN_ATTRIBUTES = {  # by the module that has them
  "os": ("system", "popen", "exec", "spawn", "posix_spawn", "startfile"),  # and names that begin so
  "yaml": ("load", "unsafe_load", "full_load"),
  "importlib": ("import_module", "__import__"),
  "pickle": ("load", "loads", "Unpickler", "_Unpickler"),
  "asyncio": ("open_connection", "start_server", "create_subprocess"),
}

ALLOWED = {  # file, what -> why
  (
    "macaw_jax/training/interruption.py",
    "socket",
  ): "a pair within the process, by which Python tells of a signal at once",
  ("macaw_jax/data/formats/macaw_hdf5.py", "pickle"): "writes the tasks' parameters as the released code reads them",
  ("macaw_jax/data/formats/unpickle.py", "pickle"): "narrows the standard unpickler down to a list of names",
  ("macaw_jax/data/formats/unpickle.py", "pickle._Unpickler"): "the same; its `find_class` imports nothing",
  ("macaw_jax/training/provenance.py", "subprocess"): "git tells the commit",
  ("macaw_jax/evaluation/render.py", "subprocess"): "OpenGL takes the process down where a back end does not work",
  ("macaw_jax/evaluation/render.py", "importlib.import_module"): "Pillow is optional; the code names its modules",
  ("macaw_jax/__init__.py", "importlib.import_module"): "public names are imported when used, from a list in the code",
  ("macaw_jax/cli.py", "importlib.import_module"): "the console command imports one of the commands that it lists",
  ("experiments/config_file.py", "importlib.import_module"): "a configuration file is Python that its user runs",
  ("configs/collect/any.py", "importlib.import_module"): "a variant takes the values of its family's file beside it",
  ("macaw_jax/own_modules.py", "importlib.import_module"): "a family or an algorithm may be of a user's own module",
}

# Started with the name of a module and its flags. Each event of the list fails where it happens, and is remembered:
# whoever called may hide the failure. It watches from before the first import, and so it allows other programs:
# libraries ask some for the place or the version of what they load.
WATCHED = """
import runpy, sys

forbidden = (
  "socket.connect", "socket.bind", "socket.sendto", "socket.getaddrinfo", "socket.gethostbyname", "urllib.Request",
  "http.client.connect", "ftplib.connect", "smtplib.connect", "telnetlib.Telnet.open",
  "pickle.find_class", "os.system", "os.exec", "os.spawn", "pty.spawn", "webbrowser.open",
)
found = []

def watch(event, arguments):
  if event in forbidden:
    found.append(f"{event} {arguments!r:.200}")
    raise RuntimeError(f"forbidden: {found[-1]}")

PREPARE
sys.addaudithook(watch)
sys.argv = sys.argv[1:]
try:
  runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
finally:
  for line in found:
    print("FOUND", line)
"""


def problems(tree: ast.AST) -> Iterator[str]:
  """What a module names and must not, each as `module`, `module.attribute` or a name."""
  for node in ast.walk(tree):
    if isinstance(node, ast.Import):
      yield from (alias.name for alias in node.names if alias.name.split(".")[0] in FORBIDDEN_MODULES)
      # Under its own name, so that its attributes are found.
      yield from (f"{alias.name} as" for alias in node.names if alias.name in FORBIDDEN_ATTRIBUTES and alias.asname)
    elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
      if node.module.split(".")[0] in FORBIDDEN_MODULES:
        yield node.module
      for alias in node.names:
        if _is_forbidden(node.module, alias.name):
          yield f"{node.module}.{alias.name}"
    elif isinstance(node, ast.Name) and node.id in FORBIDDEN_NAMES:
      yield node.id
    elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
      if _is_forbidden(node.value.id, node.attr):
        yield f"{node.value.id}.{node.attr}"
    elif isinstance(node, ast.keyword) and node.arg == "allow_pickle" and ast.unparse(node.value) != "False":
      yield "allow_pickle"


def _is_forbidden(module: str, name: str) -> bool:
  prefixes = FORBIDDEN_ATTRIBUTES.get(module, ())
  return name.startswith(prefixes) if module in ("os", "asyncio") else name in prefixes


@pytest.fixture(scope="module")
def found_in_sources() -> set[tuple[str, str]]:
  paths = [path for folder in SOURCES for path in (ROOT / folder).rglob("*.py")]
  assert len(paths) > 50
  return {
    (path.relative_to(ROOT).as_posix(), problem) for path in paths for problem in problems(ast.parse(path.read_text()))
  }


def test_the_code_names_nothing_that_runs_what_it_reads_or_reaches_other_machines(found_in_sources):
  assert found_in_sources - set(ALLOWED) == set()


def test_every_exception_is_needed(found_in_sources):
  assert set(ALLOWED) <= found_in_sources


@pytest.mark.parametrize(
  ("snippet", "found"),
  [
    ("import pickle", "pickle"),
    ("import numpy, pickle as p", "pickle"),
    ("from pickle import loads", "pickle"),
    ("import pickle\npickle.loads(data)", "pickle.loads"),
    ("from pickle import Unpickler", "pickle.Unpickler"),
    ("import pickle\npickle._Unpickler(file)", "pickle._Unpickler"),
    ("def f():\n  import cloudpickle", "cloudpickle"),
    ("import urllib.request", "urllib.request"),
    ("from urllib import request", "urllib"),
    ("from http.client import HTTPConnection", "http.client"),
    ("import socket", "socket"),
    ("import subprocess", "subprocess"),
    ("import os\nos.system('ls')", "os.system"),
    ("import os\nrun = os.popen", "os.popen"),
    ("import os\nos.execv('/bin/ls', [])", "os.execv"),
    ("from os import system", "os.system"),
    ("import os as o", "os as"),
    ("eval('1')", "eval"),
    ("f = exec", "exec"),
    ("compile('1', '', 'eval')", "compile"),
    ("__import__('pickle')", "__import__"),
    ("__builtins__['eval']", "__builtins__"),
    ("import importlib\nimportlib.import_module('pickle')", "importlib.import_module"),
    ("from importlib import import_module", "importlib.import_module"),
    ("import yaml\nyaml.load('')", "yaml.load"),
    ("import numpy as np\nnp.load('a.npy', allow_pickle=True)", "allow_pickle"),
    ("import numpy as np\nnp.load('a.npy', allow_pickle=chosen)", "allow_pickle"),
    ("import asyncio\nasyncio.open_connection('a')", "asyncio.open_connection"),
  ],
)
def test_the_walk_finds(snippet, found):
  assert found in list(problems(ast.parse(snippet)))


@pytest.mark.parametrize(
  "snippet",
  [
    "import pickletools",
    "import re\nre.compile('a')",
    "jax.jit(f).lower().compile()",
    "np.load('a.npy', allow_pickle=False)",
    "import os\nos.replace('a', 'b')",
    "import json\njson.load(file)",
    "from .http import x",
  ],
)
def test_the_walk_passes(snippet):
  assert list(problems(ast.parse(snippet))) == []


def watched(module, *flags, folder, prepare=""):
  """A command under the eyes of an audit hook: its result."""
  environment = {**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)}
  command = [sys.executable, "-c", WATCHED.replace("PREPARE", prepare), module, *flags]
  return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
  ("action", "event"),
  [
    ("import socket; socket.create_connection(('127.0.0.1', 9))", "socket.getaddrinfo"),
    ("import socket; socket.socket().connect(('127.0.0.1', 9))", "socket.connect"),
    ("import pickle, collections; pickle.loads(pickle.dumps(collections.Counter()))", "pickle.find_class"),
    ("import os; os.system('true')", "os.system"),
  ],
)
def test_the_hook_notices_also_what_is_hidden(action, event, tmp_path):
  (tmp_path / "culprit.py").write_text(f"try:\n  {action}\nexcept RuntimeError:\n  pass\n")
  result = watched("culprit", folder=tmp_path, prepare="sys.path.insert(0, '')")
  assert f"FOUND {event} " in result.stdout


def test_a_run_and_an_evaluation_reach_no_network_and_unpickle_nothing(tmp_path):
  write_point_robot(tmp_path / "data")
  sizes = ["hidden_sizes=(16,16)", "layer=dense"]
  steps = ["steps=2", "log_every=1", "evaluate_every=2", "checkpoint_every=2", "support_size=16", "query_size=16"]
  changes = [f"dataset.directory={tmp_path / 'data'}", f"output_directory={tmp_path / 'run'}"]
  changes += ["evaluation.episodes=1", "evaluation.support_size=16"]
  changes += [f"algorithm.{size}" for size in sizes] + [f"training.{step}" for step in steps]
  config = f"--config={ROOT}/configs/macaw.py:point_robot"
  for command in (
    ["experiments.run", config, *(f"--config.{change}" for change in changes)],
    ["experiments.evaluate", f"--run={tmp_path / 'run'}"],
  ):
    result = watched(*command, folder=ROOT)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "FOUND" not in result.stdout
  assert json.loads((tmp_path / "run" / "results.json").read_text())["step"] == 2
