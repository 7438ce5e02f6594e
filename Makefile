# Set-up, demo, tests and checks. `make help` lists them.
#
#   PYTHON       the interpreter that makes the virtual environment (3.11 to 3.13)
#   VENV         where that environment is, or an existing one to install into
#   PIP_ARGS     more arguments for pip, such as --extra-index-url https://download.pytorch.org/whl/cpu
#   JOBS         processes that run tests, each some of the files; auto is one per core
#   PYTEST_ARGS  more arguments for pytest, such as -k cache
#   MUTANTS_ARGS more arguments for fuzz/mutants.py, such as --count 10 --only passes/bounds/intervals

PYTHON ?= python3
VENV ?= .venv
PIP_ARGS ?=
PYTEST_ARGS ?=
MUTANTS_ARGS ?=
JOBS ?= auto

BIN := $(VENV)/bin
READY := $(VENV)/.lacuna-ready
PIP := $(BIN)/python -m pip install --disable-pip-version-check -q -c constraints.txt $(PIP_ARGS)
export PYRIGHT_PYTHON_IGNORE_WARNINGS := 1

.DEFAULT_GOAL := help
.PHONY: help venv demo test prove mutants lint format check clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

venv: $(READY) ## make the virtual environment and install lacuna into it, editable

$(READY): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) setuptools
	$(PIP) --no-build-isolation -e '.[dev,triton]'
	mkdir -p .venv/typing && ln -sfn ../.. .venv/typing/lacuna
	touch $@

demo: $(READY) ## denoise a photograph by neighborhood attention, with pictures in demo-output/
	$(BIN)/lacuna demo --rows 128 --cols 128 --explain --flex --out demo-output

test: $(READY) ## run the tests with reduced counts
	LACUNA_TEST_PROFILE=quick $(BIN)/python -m pytest -q -n $(JOBS) --dist loadfile $(PYTEST_ARGS)

prove: $(READY) ## run the tests with the full counts
	LACUNA_TEST_PROFILE=prove $(BIN)/python -m pytest -q -n $(JOBS) --dist loadfile $(PYTEST_ARGS)

mutants: $(READY) ## change one token at a time, a hundred times, and see whether a test notices; takes hours
	$(PIP) --no-build-isolation -e '.[mutants]'
	$(BIN)/python fuzz/mutants.py $(MUTANTS_ARGS)

lint: $(READY) ## check format, lint rules and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright --pythonpath $(BIN)/python

format: $(READY) ## rewrite the files in the format that lint asks for
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

check: lint test ## lint and test

clean: ## remove what the other targets made
	rm -rf .venv build dist *.egg-info demo-output .pytest_cache .ruff_cache .hypothesis
