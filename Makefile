# Two commands on a fresh machine with Python 3.11 or newer, pip and make:
#   make demo   makes the environment and runs the whole job on bundled real images
#   make test   makes the environment and passes lint, types and tests
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: install demo test lint types unit clean

install: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt
	@echo "Installing into $(VENV), once: torch alone is some 5 GB of wheels, expect a few minutes."
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --progress-bar on --constraint constraints.txt --editable ".[dev]"
	@touch $@

demo: install
	$(BIN)/ensad demo

test: lint types unit

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: install
	$(BIN)/mypy

# One thread a process: two test processes that share two cores are slower with more.
unit: install
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 -m "not gpu"

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info
