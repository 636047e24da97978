# `make demo` and `make test` start from python3, pip, venv and make; everything else goes into .venv.
PYTHON ?= python3
BIN := .venv/bin
export YOLO_OFFLINE ?= 1
export YOLO_AUTOINSTALL ?= 0

.PHONY: demo test test-all test-lowest fast lint tables variant docs clean

# In a photograph if weights that know its classes lie here; else in a scene of digits.
demo: .venv/demo.stamp
	$(BIN)/python -m reproduce.demo runs/demo

test: lint
	$(BIN)/zoo verify
	OMP_NUM_THREADS=1 $(BIN)/pytest -n auto -m "not slow"

test-all: lint
	$(BIN)/zoo verify
	OMP_NUM_THREADS=1 $(BIN)/pytest -n auto

# The lowest versions that pyproject.toml admits, on the lowest Python; uv fetches that where the machine has none.
LOWEST ?= .venv-lowest
test-lowest:
	uv venv --allow-existing --python 3.10 $(LOWEST)
	uv pip install --python $(LOWEST)/bin/python --resolution lowest-direct -e ".[dev]"
	OMP_NUM_THREADS=1 $(LOWEST)/bin/python -m pytest -n auto -m "not slow"

fast: .venv/dev.stamp
	$(BIN)/pytest -m fast

lint: .venv/dev.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy

tables: .venv/dev.stamp
	$(BIN)/python -m benchmarks.tables
	$(BIN)/zoo card

variant: .venv/dev.stamp
	$(BIN)/python -m benchmarks.exports --missing
	$(BIN)/python -m benchmarks.complexity
	$(MAKE) tables

docs: .venv/docs.stamp
	$(BIN)/mkdocs build --strict

clean:
	rm -rf .venv $(LOWEST) dist build

.venv/%.stamp: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	if command -v uv >/dev/null; then uv pip install --python $(BIN)/python -e ".[$*]"; \
	else $(BIN)/python -m pip install -e ".[$*]"; fi
	touch $@
