# The README's two commands are `make run` and `make test`. Each target makes its own virtual environment when there is none.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: run test lint bench clean

run: $(VENV)/.run  ## DriftMoE against ARF and SRP on a real stream
	$(BIN)/driftmoe evaluate electricity --model driftmoe --model arf --model srp --force

test: $(VENV)/.dev  ## The whole test suite, on all cores
	$(BIN)/python -m pytest -n auto --dist worksteal

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(VENV)/.dev  ## What has become slower, then the speed of streams, trees and DriftMoE, as ratios in one run
	$(BIN)/python -m benchmarks.speed --quick
	$(BIN)/python -m benchmarks.streams_speed
	$(BIN)/python -m benchmarks.speed

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; call make with PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip

$(VENV)/.run: $(BIN)/python pyproject.toml
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

$(VENV)/.dev: $(BIN)/python pyproject.toml
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@

clean:
	rm -rf $(VENV)
