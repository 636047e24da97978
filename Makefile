# `make demo` and `make test` start from python3, pip, venv and make; everything else goes into .venv.
PYTHON ?= python3
BIN := .venv/bin
export YOLO_OFFLINE ?= 1
export YOLO_AUTOINSTALL ?= 0

.PHONY: demo test test-all fast lint tables variant docs clean

# In photographs if the official weights, which know their classes, lie here; else in a scene of digits.
demo: .venv/demo.stamp
	@mkdir -p runs/demo
	@if test -f yolov8n.pt; then \
	$(BIN)/zoo predict yolov8n.pt "$$($(BIN)/python -c 'from ultralytics.utils import ASSETS; print(ASSETS)')" --out runs/demo; \
	else \
	$(BIN)/python -m reproduce.datasets.digits runs/demo/scene.png --shape 240 320 && \
	$(BIN)/zoo predict yolov8n_dattn.digits runs/demo/scene.png --imgsz 320 --out runs/demo && \
	$(BIN)/zoo explain yolov8n_dattn.digits runs/demo/scene.png --imgsz 320 --out runs/demo/explained.png; \
	fi

test: lint
	$(BIN)/zoo verify
	OMP_NUM_THREADS=1 $(BIN)/pytest -n auto -m "not slow"

test-all: lint
	$(BIN)/zoo verify
	OMP_NUM_THREADS=1 $(BIN)/pytest -n auto

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
	$(BIN)/python -m benchmarks.complexity
	$(MAKE) tables

docs: .venv/dev.stamp
	$(BIN)/mkdocs build --strict

clean:
	rm -rf .venv dist build

.venv/%.stamp: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	if command -v uv >/dev/null; then uv pip install --python $(BIN)/python -e ".[$*]"; \
	else $(BIN)/python -m pip install -e ".[$*]"; fi
	touch $@
