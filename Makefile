# make run   meta-train MACAW on the starter data, evaluate it, and show the table
# make test  all tests, the linters among them
# make lint  ruff and mypy alone
# make bench all benchmarks at small sizes; their figures go to benchmarks/results
# make lock  resolve the dependencies anew
#
# Every target first makes .venv and installs exactly what requirements.lock names. Nothing but Python >= 3.11,
# git and make is needed; PYTHON chooses another interpreter.

PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/installed

.PHONY: run test lint bench lock

run: $(INSTALLED)
	$(BIN)/python -m experiments.run --config=configs/macaw.py

test: $(INSTALLED)
	$(BIN)/python -m pytest -n 2 --dist worksteal

lint: $(INSTALLED)
	$(BIN)/python -m pytest tests/test_lint.py

bench: $(INSTALLED)
	$(BIN)/python -m benchmarks.run --size=small

# One file for all Python versions: markers choose jax 0.10 for 3.11 and jax 0.12 for 3.12 and later.
lock: $(INSTALLED)
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile --universal --python-version 3.11 --extra plot --extra hdf5 --extra dev --upgrade \
	  --generate-hashes --no-annotate --no-header --output-file requirements.lock pyproject.toml

$(INSTALLED): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "macaw_jax needs Python >= 3.11; choose one with: make PYTHON=python3.12 ..." >&2; exit 1; }
	@echo "installing into .venv (a minute or two, once) ..."
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@
