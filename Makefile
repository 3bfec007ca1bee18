# Two commands on a fresh machine with Python 3.11 or newer, pip and make:
#   make demo   makes the environment and runs the whole job on bundled real images
#   make test   makes the environment and passes lint, types and tests
# and
#   make docs   builds the site into build/site
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: help install demo test lint types unit cover docs dist try-dist release-check bench bench-gpu clean

help: ## what there is to make
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1 \2/p' $(MAKEFILE_LIST) | while read name text; do printf '  make %-14s %s\n' "$$name" "$$text"; done

install: $(VENV)/.installed ## the environment, .venv, some 7 GB

$(VENV)/.installed: pyproject.toml constraints.txt
	@echo "Installing into $(VENV), once: torch and CUDA are most of 7 GB, expect a few minutes."
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --progress-bar on --no-compile --constraint constraints.txt --editable ".[dev]"
	@echo "Compiling what was installed."
	@# pip does so by one process. Some packages hold templates that do not compile, which is no error.
	@$(BIN)/python -m compileall -q -j 0 $(VENV)/lib >/dev/null 2>&1 || true
	@touch $@

demo: install ## the whole job on bundled real images, two minutes
	$(BIN)/ensad demo

test: lint types unit ## what CI runs: lint, types and tests

lint: install ## ruff
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: install ## mypy, strict
	$(BIN)/mypy

# One thread a process: two test processes that share two cores are slower with more. The one that is done first takes
# tests of the other.
unit: install ## the tests alone
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist worksteal -m "not gpu"

# make cover TESTS=tests/files runs these alone. Of processes that tests start, nothing is counted.
TESTS ?=
cover: install ## the tests, and which lines of the package they run
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 -m "not gpu" --cov=ensemble_ad --cov-report=term:skip-covered --cov-report=html:build/cover $(TESTS)

dist: ## the wheel, into dist/; needs Python and pip alone
	rm -rf dist
	$(PYTHON) -m pip wheel --no-deps --wheel-dir dist .

# With nothing but what the wheel asks for, in a folder from where the sources cannot be imported.
try-dist: ## run the demo from the wheel in dist/, in an environment that has nothing else
	rm -rf build/try && mkdir -p build/try
	$(PYTHON) -m venv build/try/venv
	build/try/venv/bin/python -m pip install --quiet dist/*.whl
	cd build/try && venv/bin/ensad --version && venv/bin/ensad demo

RELEASE = $$(sed -n 's/^__version__ = "\(.*\)"$$/\1/p' ensemble_ad/version.py)
release-check: ## everything that has to hold before a version is tagged
	@test -z "$$(git status --porcelain)" || { echo "git has changes that are not committed; commit them"; exit 1; }
	@grep -q "^## $(RELEASE) (20[0-9-]*)$$" CHANGELOG.md || { echo "CHANGELOG.md has no heading '## $(RELEASE) (DATE)'; name and date what is Unreleased"; exit 1; }
	@grep -q "^version: $(RELEASE)$$" CITATION.cff || { echo "CITATION.cff has another version than $(RELEASE); change it"; exit 1; }
	$(MAKE) test docs dist try-dist
	@echo "$(RELEASE) can be tagged: git tag -s v$(RELEASE)"

# Both write benchmarks/results/*.json and print the tables. FACES is a folder with trainingset.npy, testingset.npy and
# labels.csv; without it only what needs no labels is measured, on the bundled digits.
FACES ?=
WITH_FACES := $(if $(FACES),--data $(FACES))

bench: install ## measure this machine
	$(BIN)/python benchmarks/train.py $(WITH_FACES)
	$(BIN)/python benchmarks/convolution.py
	$(BIN)/python benchmarks/several.py
	$(BIN)/python benchmarks/crowded.py
	$(BIN)/python benchmarks/pipeline.py
ifneq ($(FACES),)
	$(BIN)/python benchmarks/study.py $(WITH_FACES) --labels $(FACES)/labels.csv
	$(BIN)/python benchmarks/parity.py $(WITH_FACES) --labels $(FACES)/labels.csv --studies $$(mktemp -d)
endif

# In pieces of eight minutes at most; make bench-gpu PIECES="tests steps-cnn" runs these alone. Done ones are left out.
PIECES ?=
bench-gpu: install ## measure its GPU
	$(BIN)/python benchmarks/gpu.py $(PIECES) $(WITH_FACES)

docs: install ## the site, into build/site
	$(BIN)/sphinx-build -W --keep-going -q -c docs . build/site
	@echo "open build/site/index.html"

clean: ## remove all of that but dist/
	rm -rf build/site $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage* *.egg-info
