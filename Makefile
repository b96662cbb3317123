# Everything a person needs: `make demo` shows the program at work, `make test` checks it. Both set up .venv first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Where there is no NVIDIA GPU, torch stays the CPU build.
CONSTRAINTS := $(shell command -v nvidia-smi >/dev/null 2>&1 || echo -c scripts/constraints-cpu.txt)

.PHONY: demo test test-all lint setup clean

demo: $(VENV)/.ready
	$(BIN)/rerankbench eval
	@echo
	@echo "The same run in the MLflow dashboard: $(BIN)/rerankbench ui"

test: $(VENV)/.ready-test
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "not slow"

test-all: $(VENV)/.ready-test
	$(BIN)/python -m pytest -n 2 --dist worksteal

lint: $(VENV)/.ready-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

setup: $(VENV)/.ready-test

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed: make PYTHON=python3.11" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.ready: pyproject.toml scripts/constraints-cpu.txt | $(BIN)/python
	@echo "setting up $(VENV) (a few minutes the first time)"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(CONSTRAINTS) -e .
	@touch $@

$(VENV)/.ready-test: $(VENV)/.ready
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(CONSTRAINTS) -e '.[test,lint]'
	@touch $@

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis
