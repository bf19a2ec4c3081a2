# Everything starts from a fresh clone: each target sets up what it needs.
#
#   PYTHON=python3.13   the interpreter (default: the newest installed)
#   ARGS="-k mailbox"   handed on to pytest, ruff, mypy or the benchmark

PYTHON ?=
ARGS ?=
VENV := .venv/bin

export PYTHON

.PHONY: help setup test test-quick lint types bench clean
.DEFAULT_GOAL := help

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## the virtual environment, and the Debian packages that the tests need
	@tools/setup.sh

test: setup ## all tests
	$(VENV)/python -m pytest $(ARGS)

test-quick: setup ## the tests that need no peers: unit, property, contract
	$(VENV)/python -m pytest tests/unit tests/property tests/contract $(ARGS)

lint: setup ## style: ruff check and format
	$(VENV)/python -m ruff check $(ARGS)
	$(VENV)/python -m ruff format --check $(ARGS)

types: setup ## types: mypy, strict
	$(VENV)/python -m mypy $(ARGS)

bench: setup ## the pipeline's benchmark; ARGS="--help" tells what can be asked
	$(VENV)/python -m tests.benchmarks.pipeline $(ARGS)

clean: ## remove what was built, installed and cached here
	rm -rf .venv .venv-* .cache .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
