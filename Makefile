# make repro: from a clone to a report.   make test: what CI runs.   Both set up .venv first.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready-$(notdir $(PYTHON))
LOWEST := .venv-lowest
# dvc runs `python -m stages...`: the environment's python goes first.
export PATH := $(CURDIR)/$(BIN):$(PATH)
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: setup repro test test-all test-lowest bench fuzz check format docs clean

repro: $(READY)
	@$(BIN)/decant repro

test: $(READY) check
	$(BIN)/python -m pytest -n 2 -m "not slow"

test-all: $(READY) check
	$(BIN)/python -m pytest

# The fast tests with the lowest versions that pyproject.toml allows, of all but torch and torchvision. What older
# packages call of newer ones may be deprecated by now.
test-lowest: $(LOWEST)/.ready
	PATH="$(CURDIR)/$(LOWEST)/bin:$$PATH" $(LOWEST)/bin/python -m pytest -n 2 -m "not slow" -W default::DeprecationWarning

bench: $(READY)
	$(BIN)/python -m benchmarks

# Five minutes of looking for a store that does harm; findings are left as crash-... files.
fuzz: $(READY)
	$(BIN)/pip install --quiet -c constraints.txt -e ".[fuzz]"
	nice $(BIN)/python tests/fuzz_store.py --seconds 300

check: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# The documentation as a site in site/; `.venv/bin/mkdocs serve` shows it while it is written.
docs: $(READY)
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

setup: $(READY)

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/pip install --quiet -c constraints.txt -e ".[dev]"
	@touch $@

$(LOWEST)/.ready: pyproject.toml constraints.txt tests/lowest_versions.py
	$(PYTHON) -m venv $(LOWEST)
	$(LOWEST)/bin/pip install --quiet -c constraints.txt uv
	$(LOWEST)/bin/python tests/lowest_versions.py $(LOWEST)/constraints.txt
	$(LOWEST)/bin/pip install --quiet -c $(LOWEST)/constraints.txt -e ".[parquet,remote,ssh]" hypothesis pytest pytest-timeout pytest-xdist
	@touch $@

clean:
	rm -rf $(VENV) $(LOWEST) site .mypy_cache .ruff_cache .pytest_cache *.egg-info
