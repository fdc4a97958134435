# `make help` lists the targets. Variables: PROFILE=quick|reference|…|my.toml RESULTS=folder ARGS="…" MINUTES=n CLAIM=letter
PYTHON ?= python3
RESULTS ?= results
PROFILE ?=
ARGS ?=
MINUTES ?= 25
CLAIM ?=

VENV := .venv
PY := $(VENV)/bin/python
SELECTED := $(if $(PROFILE),--profile "$(PROFILE)") --results "$(RESULTS)" $(ARGS)
# Training needs only torch, numpy, tqdm and pydantic, so a hosted notebook needs no installation.
INSTALLED := $(if $(wildcard $(VENV)/installed),$(PY),$(PYTHON))
PYTEST := $(PY) -m pytest --numprocesses auto --dist worksteal

# Processes start faster with cached byte code, whatever the environment says.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup bench plan claim speed gpu report smoke tune fetch readme test test-fast test-faults check format clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## /\1|/' \
	  | awk -F'|' '{ printf "  make %-11s %s\n", $$1, $$2 }'

setup: $(VENV)/installed  ## create .venv with the pinned requirements (every target does this first)

# This file is created last, so that an interrupted installation is repeated.
$(VENV)/installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "You need Python 3.11 or newer; name it, as in make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --disable-pip-version-check --requirement requirements.lock
	$(PY) -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

bench: setup  ## run what is missing of PROFILE (default: paper with a GPU, else quick), time it, report
	$(PY) -m bench run $(SELECTED)

plan: setup  ## show what bench would run and how long it would take
	$(PY) -m bench plan $(SELECTED)

claim: setup  ## run the smallest grid that decides CLAIM, and print the verdict; without CLAIM, list the claims
	$(PY) -m bench claim $(if $(CLAIM),"$(CLAIM)") --results "$(RESULTS)" $(ARGS)

speed: setup  ## time training, inference and streaming, also of other implementations, and report
	$(PY) -m bench speed --yardsticks $(SELECTED)

gpu:  ## test, time and train PROFILE (default: paper) for MINUTES on a GPU; ends with one archive
	$(INSTALLED) -m bench.run.slot --minutes "$(MINUTES)" $(SELECTED)

report: setup  ## write tables, figures and pages from the records in RESULTS
	$(PY) -m bench report $(SELECTED)

smoke: setup  ## run every task and model at its smallest, in about two minutes
	$(PY) -m bench run --profile smoke --results "$(RESULTS)/smoke" $(ARGS)

tune: setup  ## run the sweep of learning rates that the profiles use
	$(PY) -m bench tune --results "$(RESULTS)/tuning" $(ARGS)

fetch: setup  ## download MNIST ahead of time, for a machine without internet
	$(PY) -m bench fetch $(ARGS)

readme: setup  ## write the tables of README.md, docs/results.md and docs/data.md from results/reference
	$(PY) -m bench.report.readme

test: setup  ## run the tests and list the ten slowest
	$(PYTEST) -m "not faults" --durations=10 $(ARGS)

test-fast: setup  ## run the tests that train, compile and draw nothing, in about two minutes
	$(PYTEST) -m "not faults and not slow" $(ARGS)

FAULTS := tests/faults tests/core/test_store.py tests/measure/test_checkpoint.py tests/plan/test_plugins.py tests/run/test_cluster.py tests/run/test_slot.py tests/run/test_workers.py tests/tasks/test_downloads.py tests/tasks/test_files.py

test-faults: setup  ## inject kills, full disks, broken plug-ins and damaged files (docs/reliability.md)
	$(PYTEST) $(FAULTS) $(ARGS)

check: setup  ## run ruff, pyright and the tests
	$(PY) -m ruff check
	$(PY) -m ruff format --check
	$(PY) -m pyright --pythonpath $(PY)
	$(MAKE) test

format: setup  ## format the code with ruff
	$(PY) -m ruff check --fix
	$(PY) -m ruff format

clean:  ## remove .venv and caches; records and reports stay
	rm -rf $(VENV) .pytest_cache .ruff_cache .hypothesis *.egg-info
	find bench models tasks tests -name __pycache__ -type d -prune -exec rm -rf {} +
