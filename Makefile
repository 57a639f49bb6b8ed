# The commands of this project. `make setup` is called by all the others.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: setup demo test test-slow check format bench docs clean

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@

demo: setup
	$(BIN)/lowbit compare digits-cnn --data digits --min-duration 0.5 --rounds 1 --out digits-cnn-digits

test: setup
	$(BIN)/pytest -n auto --dist loadfile --no-loadscope-reorder

test-slow: setup
	$(BIN)/pytest -m slow --timeout 3600

check: setup
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

format: setup
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

bench: setup
	$(BIN)/python bench/run.py

docs: setup
	$(BIN)/python docs/make.py
	$(BIN)/python docs/operators.py

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis
