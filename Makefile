# `make help` says what there is. Variables: PROFILE=quick|reference|…|my.toml RESULTS=folder ARGS="…"
PYTHON ?= python3
RESULTS ?= results
PROFILE ?=
ARGS ?=

VENV := .venv
PY := $(VENV)/bin/python
SELECTED := $(if $(PROFILE),--profile "$(PROFILE)") --results "$(RESULTS)" $(ARGS)

.DEFAULT_GOAL := help
.PHONY: help setup bench plan speed report readme smoke tune fetch test test-faults check format clean

help:  ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## /\1|/' \
	  | awk -F'|' '{ printf "  make %-11s %s\n", $$1, $$2 }'

setup: $(VENV)/installed  ## make .venv with the pinned requirements (every target does it by itself)

# Written last: an installation cut short is begun again.
$(VENV)/installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; say which by make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --disable-pip-version-check --requirement requirements.lock
	$(PY) -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

bench: setup  ## run what is missing of PROFILE (quick without a GPU, paper with one), then report
	$(PY) -m bench run $(SELECTED)

plan: setup  ## say what bench would run and how long it takes
	$(PY) -m bench plan $(SELECTED)

speed: setup  ## time training, inference and streaming, and beside what others do, then report
	$(PY) -m bench speed --yardsticks $(SELECTED)

report: setup  ## tables, figures and a page from the records in RESULTS
	$(PY) -m bench report $(SELECTED)

readme: setup  ## write the marked blocks of README.md and docs/data.md from the committed reference
	$(PY) -m bench.report.readme

smoke: setup  ## every task and model at its smallest, in two minutes or so
	$(PY) -m bench run --profile smoke --results "$(RESULTS)/smoke" $(ARGS)

tune: setup  ## sweep the learning rates that the profiles use
	$(PY) -m bench tune --results "$(RESULTS)/tuning" $(ARGS)

fetch: setup  ## download MNIST ahead of time, for a machine that will have no network
	$(PY) -m bench fetch $(ARGS)

test: setup  ## the tests
	$(PY) -m pytest --numprocesses auto -m "not faults" $(ARGS)

FAULTS := tests/faults tests/core/test_store.py tests/measure/test_checkpoint.py tests/plan/test_plugins.py tests/run/test_workers.py tests/tasks/test_files.py

test-faults: setup  ## kills, full disks, broken plug-ins, arbitrary files: docs/reliability.md
	$(PY) -m pytest --numprocesses auto $(FAULTS) $(ARGS)

check: setup  ## ruff, pyright and the tests
	$(PY) -m ruff check
	$(PY) -m ruff format --check
	$(PY) -m pyright --pythonpath $(PY)
	$(MAKE) test

format: setup  ## let ruff lay out the code
	$(PY) -m ruff check --fix
	$(PY) -m ruff format

clean:  ## remove .venv and caches; records and reports stay
	rm -rf $(VENV) .pytest_cache .ruff_cache .hypothesis *.egg-info
	find bench models tasks tests -name __pycache__ -type d -prune -exec rm -rf {} +
