# Two commands are enough: `make demo` and `make test`. Each sets up `.venv` on the first call.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

WANTED := $(shell cat .python-version)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

# The first interpreter of the wanted version; the pyenv shims read .python-version by themselves.
PYTHON ?= $(shell for p in python$(WANTED) python3 python; do \
	"$$p" -c 'import sys; sys.exit("%d.%d" % sys.version_info[:2] != "$(WANTED)")' \
	>/dev/null 2>&1 && echo "$$p" && break; done)

# What follows `make demo ARGS="..."` and `make test ARGS="..."` goes to the program.
ARGS ?=
# Passed to pip, for example to take a CPU build of torch from another index.
PIP_ARGS ?=
# More interpreters to try the bare wheel with, beside the one of the environment.
WHEEL_PYTHONS ?=

.PHONY: help demo test check format build clean setup

help: ## Show the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-7s %s\n", $$1, $$2}' Makefile

setup: $(STAMP) ## Make .venv and install everything; does nothing when it is up to date

$(STAMP): pyproject.toml constraints.txt .python-version
	@if [ -z "$(PYTHON)" ]; then \
		echo "Expected Python $(WANTED) (.python-version), found: $$(python3 --version 2>&1)." >&2; \
		echo "Install it (pyenv install $(WANTED)), or name one: make PYTHON=/path/to/python$(WANTED) ..." >&2; \
		exit 1; \
	fi
	@echo "Setting up $(VENV), once: about 5 GB and a few minutes (torch is the large part)."
	@"$(BIN)/python" -c 'import pip, sys; sys.exit("%d.%d" % sys.version_info[:2] != "$(WANTED)")' \
		>/dev/null 2>&1 || "$(PYTHON)" -m venv --clear $(VENV)
	@$(BIN)/python -m pip install --disable-pip-version-check $(PIP_ARGS) -c constraints.txt \
		-e '.[full,dev]'
	@touch $@

demo: $(STAMP) ## Run the main job: a simulated WidowX learns from the reward of a VLM (five minutes)
	@$(BIN)/python -c 'from robots.gl import main; main()'
	@$(BIN)/python -m experiments.demo $(ARGS)

test: $(STAMP) ## Run all tests
	@$(BIN)/python -c 'from robots.gl import main; main()'
	$(BIN)/python -m pytest -q -n auto --dist loadfile $(ARGS)

check: $(STAMP) ## Lint and type-check
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/ty check

format: $(STAMP) ## Format the code and mend what the linter can mend
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

build: $(STAMP) ## Build the wheel and run the plugin from it, with numpy and gymnasium only
	rm -rf dist build
	$(BIN)/python -m pip wheel --disable-pip-version-check -q --no-deps -w dist .
	@for python in $(BIN)/python $(WHEEL_PYTHONS); do \
		rm -rf build/bare; \
		"$$python" -m venv build/bare; \
		build/bare/bin/python -m pip install --disable-pip-version-check -q dist/*.whl; \
		cp tests/bare_wheel.py build/bare/; \
		(cd build/bare && bin/python -I bare_wheel.py); \
	done

clean: ## Delete what was built: .venv, dist, build and caches (not runs)
	rm -rf $(VENV) dist build .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
