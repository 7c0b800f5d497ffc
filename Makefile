# `make demo` and `make test` do all set-up: Python 3.11+ and make are enough.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# Two threads on two busy cores run up to ten times slower than one.
export OMP_NUM_THREADS ?= 1

.PHONY: demo test test-quick lint drill drill-long package docs clean-demo

$(VENV)/.demo: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[demo]'
	touch $@

$(VENV)/.test: pyproject.toml $(VENV)/.demo
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[test]'
	touch $@

demo: $(VENV)/.demo
	$(BIN)/rt-train experiment=quickstart
	$(BIN)/rt-report table quickstart
	$(BIN)/rt-report figure quickstart

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test-quick: $(VENV)/.test
	$(BIN)/python -m pytest -q -n 2 --dist loadfile

test: lint
	$(BIN)/python -m pytest -q -n 2 --dist loadfile -m 'not gpu and not drill and not drill_long'

drill: $(VENV)/.test
	$(BIN)/python -m pytest -q -m drill

drill-long: drill
	$(BIN)/python scripts/check_mutants.py --control
	$(BIN)/python -m pytest -q -m drill_long

$(VENV)/.docs: pyproject.toml $(VENV)/.demo
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[docs]'
	touch $@

docs: $(VENV)/.docs
	COLUMNS=100 $(BIN)/python scripts/make_reference.py
	$(BIN)/python -m mkdocs build --strict --quiet

package: $(VENV)/.test
	$(BIN)/python scripts/check_package.py

clean-demo:
	rm -rf runs
