# Every command creates the environment it needs and is quick when nothing changed. `make help` lists them.

PYTHON ?= python3
DATA ?= ../shared/data
DEMO ?= isthmus-demo
PIP_FLAGS ?= -qq
# A worker gets neighbouring tests, which share their fixtures and fitted models.
PYTEST_FLAGS ?= -n auto --dist worksteal
SLOW ?= tests
BENCHMARK_FLAGS ?=
MINUTES ?= 30
SEED ?= 0

VENV := .venv
BENCHMARK_VENV := .venv-benchmark
LOWEST_VENV := .venv-lowest
SOURCES := $(shell find src -type f -not -name '*.pyc' 2>/dev/null)

# The constraints hold for the isolated environment of the build backend too; a new pip reads the second name.
PIN = PIP_CONSTRAINT=$(1) PIP_BUILD_CONSTRAINT=$(1) PIP_DISABLE_PIP_VERSION_CHECK=1
INSTALL = $(call PIN,constraints.txt) $(VENV)/bin/python -m pip install $(PIP_FLAGS) -c constraints.txt

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test test-all test-slow lint test-lowest fuzz docs benchmark benchmark-anomaly format clean distclean

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-17s %s\n", $$1, $$2 }' Makefile

demo: $(DEMO)/report.html ## train on the bundled images and write a report (once; again when the sources change)
	@echo "The report is $(DEMO)/report.html; to make it again: rm -r $(DEMO), then make demo"

test: lint ## lint, check types, run the quick tests and the examples in the docstrings (4 minutes)
	$(VENV)/bin/pytest $(PYTEST_FLAGS) -m "not slow" --doctest-modules tests src/isthmus

test-all: lint ## the same with every test (15 minutes)
	$(VENV)/bin/pytest $(PYTEST_FLAGS) --doctest-modules tests src/isthmus

test-slow: $(VENV)/.dev ## run the slow tests only, of SLOW=tests/contracts or other files
	$(VENV)/bin/pytest $(PYTEST_FLAGS) -m slow $(SLOW) || [ $$? = 5 ] # a file without slow tests

lint: $(VENV)/.dev
	$(VENV)/bin/ruff check
	$(VENV)/bin/ruff format --check
	$(VENV)/bin/mypy

test-lowest: $(LOWEST_VENV)/.ready ## test the lowest versions of pyproject.toml in an environment of their own (3 minutes)
	$(LOWEST_VENV)/bin/python -m pytest $(PYTEST_FLAGS) -m "not slow" tests/estimator tests/data tests/cli/test_app.py tests/metrics

fuzz: $(VENV)/.dev ## read random and damaged files of every kind for MINUTES=30; what fails is kept in fuzz-findings/
	$(VENV)/bin/python -m tools.fuzz_readers --minutes $(MINUTES) --seed $(SEED)

docs: $(VENV)/.docs ## build the documentation into site/; a warning is an error
	$(VENV)/bin/mkdocs build --strict

benchmark: $(BENCHMARK_VENV)/.ready ## train the same network by isthmus and its peers (20 minutes); DATA=its folder
	$(BENCHMARK_VENV)/bin/python -m benchmarks.run --data $(DATA) --write docs/benchmarks.md $(BENCHMARK_FLAGS)

benchmark-anomaly: $(BENCHMARK_VENV)/.ready ## detect anomalies by isthmus and its peers (hours); DATA=its folder
	$(BENCHMARK_VENV)/bin/python -m benchmarks.anomaly --data $(DATA) --write docs/benchmarks-anomaly.md $(BENCHMARK_FLAGS)

format: $(VENV)/.dev ## format, and mend what the linter can mend
	$(VENV)/bin/ruff check --fix
	$(VENV)/bin/ruff format

clean: ## remove what the commands made, but for the environments
	rm -rf $(DEMO) site build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find src tests benchmarks tools -type d -name __pycache__ -prune -exec rm -rf {} + 2>/dev/null || true

distclean: clean ## remove the environments too
	rm -rf $(VENV) $(BENCHMARK_VENV) $(LOWEST_VENV)

$(DEMO)/report.html: $(VENV)/.runtime $(SOURCES)
	@$(VENV)/bin/isthmus demo --out $(DEMO) --overwrite

# A stamp says what an environment was last installed from. Each kind is a superset of .runtime, so it renews that too.
$(VENV)/.runtime: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "Installing isthmus into $(VENV) (minutes the first time, seconds later)"
	@$(INSTALL) -e .
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "Installing isthmus and the test tools into $(VENV) (minutes the first time, seconds later)"
	@$(INSTALL) -e '.[dev]'
	@touch $(VENV)/.runtime $@

$(VENV)/.docs: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "Installing isthmus and the documentation tools into $(VENV) (minutes the first time, seconds later)"
	@$(INSTALL) -e '.[docs]'
	@touch $(VENV)/.runtime $@

$(BENCHMARK_VENV)/.ready: pyproject.toml benchmarks/requirements.txt benchmarks/constraints.txt | $(BENCHMARK_VENV)/bin/python
	@echo "Installing isthmus and its peers into $(BENCHMARK_VENV) (minutes the first time, seconds later)"
	@$(call PIN,benchmarks/constraints.txt) $(BENCHMARK_VENV)/bin/python -m pip install $(PIP_FLAGS) \
		-c benchmarks/constraints.txt -r benchmarks/requirements.txt -e .
	@touch $@

$(LOWEST_VENV)/.ready: pyproject.toml constraints-lowest.txt | $(LOWEST_VENV)/bin/python
	@echo "Installing isthmus and the lowest versions of what it needs into $(LOWEST_VENV)"
	@$(LOWEST_VENV)/bin/python -m pip install $(PIP_FLAGS) -c constraints-lowest.txt -e . \
		pytest pytest-xdist hypothesis jaxtyping beartype pandas polars
	@touch $@

%/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "isthmus needs Python 3.11 or newer, and '$(PYTHON)' is $$($(PYTHON) --version 2>&1)."; \
		echo "Name a newer one: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@$(PYTHON) -m venv $* || { \
		echo "'$(PYTHON) -m venv' failed; on Debian and Ubuntu: apt install python3-venv"; rm -rf $*; exit 1; }
