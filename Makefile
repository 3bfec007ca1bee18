# Two commands on a fresh machine with Python 3.11 or newer, pip and make:
#   make demo   makes the environment and runs the whole job on bundled real images
#   make test   makes the environment and passes lint, types and tests
# and
#   make docs   builds the site into build/site
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: install demo test lint types unit docs bench bench-gpu clean

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

# Both write benchmarks/results/*.json and print the tables. FACES is a folder with trainingset.npy, testingset.npy and
# labels.csv; without it only what needs no labels is measured, on the bundled digits.
FACES ?=
WITH_FACES := $(if $(FACES),--data $(FACES))

bench: install
	$(BIN)/python benchmarks/train.py $(WITH_FACES)
	$(BIN)/python benchmarks/convolution.py
	$(BIN)/python benchmarks/several.py
	$(BIN)/python benchmarks/pipeline.py
ifneq ($(FACES),)
	$(BIN)/python benchmarks/study.py $(WITH_FACES) --labels $(FACES)/labels.csv
	$(BIN)/python benchmarks/parity.py $(WITH_FACES) --labels $(FACES)/labels.csv --studies $$(mktemp -d)
endif

bench-gpu: install
	$(BIN)/pytest -m gpu
	$(BIN)/python benchmarks/train.py --device cuda $(WITH_FACES)
	$(BIN)/python benchmarks/train.py --device cuda $(WITH_FACES) --models cnn-sample --methods ensad,compiled --out benchmarks/results/compile-gpu.json
	$(BIN)/python benchmarks/several.py --device cuda --trials 8 --processes 4 --images 100000 --batch-size 1024
ifneq ($(FACES),)
	$(BIN)/python benchmarks/study.py --device cuda --trials 50 --epochs 20 --size 64 --max-width 4096 --seeds 0 --images 100000 $(WITH_FACES) --labels $(FACES)/labels.csv
	$(BIN)/python benchmarks/parity.py --device cuda $(WITH_FACES) --labels $(FACES)/labels.csv --studies $$(mktemp -d)
endif

docs: install
	$(BIN)/sphinx-build -W --keep-going -q -c docs . build/site
	@echo "open build/site/index.html"

clean:
	rm -rf build/site $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info
