# Every target does its own set-up and may be repeated; nothing is reinstalled while pyproject.toml and
# constraints.txt stay as they are. Only Python >= 3.11 and a package index are needed.

VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
COPY := build/typed
ARGS ?=
CIFAR ?= ../shared/cifar
MODEL ?= models:resnet20
DATA ?= data:splits

.DEFAULT_GOAL := help
.PHONY: help demo test lint format docs bench clean

help:  ## Show the targets.
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST)

demo: $(VENV)/.ready-demo  ## Run the main job on scikit-learn's digits; artefacts go to runs/demo.
	$(BIN)/autoprune demo $(ARGS)

test: $(VENV)/.ready-test  ## Run the tests; ARGS="-k name" selects some.
	$(BIN)/python -m pytest --numprocesses 2 $(ARGS)

lint: $(VENV)/.ready-lint  ## Check style (ruff) and types (mypy, on an installed copy).
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	rm -rf build
	$(PIP) --no-build-isolation --no-deps --no-index --target $(COPY) .
	cd $(COPY) && MYPYPATH=. ../../$(BIN)/mypy --config-file ../../pyproject.toml --cache-dir ../../.mypy_cache --package autoprune

format: $(VENV)/.ready-lint  ## Rewrite the code in the house style.
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(VENV)/.ready-docs  ## Build the documentation into build/site; a broken link or reference fails.
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --clean

bench: $(VENV)/.ready-test  ## Run the benchmarks (hours; what is done is kept): MODEL, DATA, CIFAR=folder.
	for name in candidate compare finetune reconstruction score criteria; do \
		PYTHONPATH=$(CIFAR) $(BIN)/python -m benchmarks.$$name --model $(MODEL) --data $(DATA) $(ARGS) || exit; done

clean:  ## Remove the virtual environment, caches and build output; runs/ stays.
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -not -path './runs/*' -prune -exec rm -rf {} +

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "error: Python 3.11 or newer is needed and none was found; name one: make PYTHON=/path/to/python" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)

# The build tools come from the same pins, hence no build isolation.
$(VENV)/.ready-%: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) setuptools
	$(PIP) --no-build-isolation --editable ".[$*]"
	@touch $@
