# The README's two commands are `make run` and `make test`. Each target makes its own virtual environment when there is none.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: run test lint bench clean

run: $(READY)  ## DriftMoE against ARF and SRP on a real stream
	$(BIN)/driftmoe evaluate electricity --model driftmoe --model arf --model srp

test: $(READY)  ## The whole test suite, on all cores
	$(BIN)/python -m pytest -n auto

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(READY)  ## Speed of the streams, as ratios in one run
	$(BIN)/python -m benchmarks.streams_speed

$(READY): pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; call make with PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@

clean:
	rm -rf $(VENV)
