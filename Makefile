# Two commands are all a fresh machine needs: `make simulate` and `make test`.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: venv simulate test test-slow coverage lint bench docs screenshots lock
.DEFAULT_GOAL := simulate

venv: $(STAMP)

# The CPU build of torch is pinned first and through the constraints file: unpinned, pip takes
# gigabytes of CUDA.
$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $(STAMP)

# The main job: the built-in federation of four hospitals. Pass options with ARGS='--rounds 3'.
simulate: venv
	$(BIN)/hedgerow simulate $(ARGS)

# On all cores, a file of tests to each; pass options with ARGS='-k ledger', or ARGS=--cov for
# `make coverage` after it.
test: venv
	$(BIN)/pytest -n auto --dist loadfile $(ARGS)

# What takes minutes: Ray, `flwr run`, hundreds of kills.
test-slow: venv
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,ray]'
	$(BIN)/pytest -m slow $(ARGS)

# Reads what `make test ARGS=--cov` measured; fails below 90 % of the branches of a core room.
coverage: venv
	for room in federation privacy evaluation; do \
	  $(BIN)/coverage report --skip-covered --include="$$room/*" --fail-under=90 || exit 1; done

lint: venv
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: venv
	for bench in benchmarks/*.py; do $(BIN)/python $$bench || exit 1; done

# What the code already knows: docs/configuration.md, docs/summary.schema.json, and the tables of
# docs/secure-sum.md.
docs: venv
	$(BIN)/python docs/write_reference.py

# The pictures of the README, from a run made for them; needs Chromium.
screenshots: venv
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,docs]'
	$(BIN)/python docs/take_screenshots.py

# Rewrites constraints.txt from pyproject.toml; uv comes with flwr.
lock: venv
	$(BIN)/uv pip compile pyproject.toml --extra dev --extra docs --extra ray --python-version 3.11 --no-header \
	  --no-annotate --no-emit-index-url --constraint lock-pins.txt --output-file constraints.txt
	sed -i 's|+cpu||' constraints.txt
