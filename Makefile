# Everything starts from a fresh clone: each target sets up what it needs.
#
#   PYTHON=python3.13   the interpreter (default: the newest installed)
#   ARGS="-k mailbox"   handed on to pytest, ruff, mypy or the benchmark
#   WORKERS=0           how many tests run at a time (default: 2; 0: in one process, for a debugger)
#   NAME=swap           which demo (default: watch)
#   SECONDS=20          when the demo ends by itself (default: at Ctrl-C)

PYTHON ?=
ARGS ?=
WORKERS ?= 2
PYTEST := -n $(WORKERS) --dist loadfile
# Not from the environment, where others mean something else by these names.
NAME :=
SECONDS :=
VENV := .venv/bin

export PYTHON

.PHONY: help setup demo test test-quick lint types bench faults soak kills clean
.DEFAULT_GOAL := help

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## the virtual environment, and the Debian packages that the tests need
	@tools/setup.sh

demo: ## hailod at work, without camera, broker, accelerator or root
	@tools/setup.sh .venv "" demo
	@$(VENV)/python -m hailod demo $(NAME) $(if $(SECONDS),--seconds $(SECONDS))

test: setup ## all tests
	$(VENV)/python -m pytest $(PYTEST) $(ARGS)

test-quick: setup ## the tests that need no peers: unit, property, contract
	$(VENV)/python -m pytest $(PYTEST) tests/unit tests/property tests/contract $(ARGS)

lint: setup ## style: ruff check and format
	$(VENV)/python -m ruff check $(ARGS)
	$(VENV)/python -m ruff format --check $(ARGS)

types: setup ## types: mypy, strict
	$(VENV)/python -m mypy $(ARGS)

bench: setup ## the pipeline's benchmark; ARGS="--help" tells what can be asked
	$(VENV)/python -m tests.benchmarks.pipeline $(ARGS)

faults: setup ## everything that breaks, on the real daemon; ARGS="--short", "--only camera"
	$(VENV)/python -m tests.benchmarks.faults $(ARGS)

soak: setup ## two million frames and five hundred faults: does anything grow?
	$(VENV)/python -m tests.benchmarks.soak $(ARGS)

kills: setup ## a thousand SIGKILLs: is what was set always whole?
	$(VENV)/python -m tests.benchmarks.kills $(ARGS)

clean: ## remove what was built, installed and cached here
	rm -rf .venv .venv-* .cache .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
