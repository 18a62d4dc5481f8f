# Two commands matter: `make up` runs the whole system on this machine, `make test` checks all of it.
# They need make, Python >= 3.11 and pip. Everything else is installed into .venv/.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
SHELL := /bin/sh

VENV := .venv
BIN := $(VENV)/bin
PACKAGES := shared services/scheduler services/worker services/monitor
PYPROJECTS := $(PACKAGES:%=%/pyproject.toml)

# Options for pytest.
PYTEST_ARGS ?=
PYTEST_WORKERS := -n auto --maxprocesses 4

# Prints the first usable interpreter, or what is missing.
define find_python
for python in "$$PYTHON" python3 python3.14 python3.13 python3.12 python3.11; do \
    [ -n "$$python" ] && "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
        >/dev/null 2>&1 && { echo "$$python"; exit 0; }; \
done; \
echo "duly needs Python 3.11 or newer; found: $$(python3 -V 2>/dev/null || echo none)." \
    "Install one, or name it: make PYTHON=/path/to/python3" >&2; exit 1
endef

# $(1): the lock to install. Debian's python3 may come without ensurepip; its pip is used then.
define make_environment
@python="$$($(find_python))" || exit 1; \
echo "Setting up $(VENV) from requirements/$(1).txt ($(2) the first time) ..."; \
if ! $(BIN)/python -c '' >/dev/null 2>&1; then \
    rm -rf $(VENV); \
    "$$python" -m venv $(VENV) >/dev/null 2>&1 || "$$python" -m venv --clear --without-pip $(VENV) \
        || { echo "cannot create a virtual environment: install python3-venv" >&2; exit 1; }; \
fi; \
if $(BIN)/python -m pip --version >/dev/null 2>&1; then pip="$(BIN)/python -m pip"; \
else pip="$$python -m pip --python $(BIN)/python"; fi; \
install="$$pip --quiet --disable-pip-version-check --no-input install --no-warn-script-location"; \
$$install --require-hashes --requirement requirements/$(1).txt \
    && $$install --no-deps --no-build-isolation $(PACKAGES:%=--editable %) \
    || { echo "setting up $(VENV) failed (see pip's output above); try again, or run: make clean" >&2; exit 1; }
endef

.PHONY: help up test lint fmt types bench docs soak alerts lock version packages clean

help: ## show this list
	@echo "make up      run the whole system here: http://127.0.0.1:8080/monitoring/ (Ctrl-C stops it)"
	@awk -F ':.*## ' '/^[a-z0-9]+:.*## / { printf "make %-7s %s\n", $$1, $$2 }' \
	    Makefile deploy/make.mk

# exec replaces the shell, so that a signal to the recipe reaches duly itself.
up: $(VENV)/.up
	@exec $(BIN)/duly up $(ARGS)

test: lint ## check everything: lint, types, contracts, all tests (a part: PYTEST_ARGS='-k ticks')
	@for need in redis-server chromium prometheus prometheus-alertmanager; do \
	    command -v $$need >/dev/null || echo "note: $$need not found: its tests are skipped"; done; \
	ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || command -v initdb >/dev/null \
	    || echo "note: PostgreSQL server not found: its tests are skipped"
	@$(BIN)/pytest $(PYTEST_WORKERS) $(PYTEST_ARGS)

lint: $(VENV)/.dev ## check style, types, import contracts, dependencies, sizes, dead code
	@$(BIN)/ruff check --quiet
	@$(BIN)/ruff format --check --quiet
	@$(BIN)/mypy --no-error-summary
	@found=$$($(BIN)/lint-imports 2>&1) || { echo "$$found"; exit 1; }
	@for package in $(PACKAGES); do \
	    found=$$(cd $$package && NO_COLOR=1 $(CURDIR)/$(BIN)/deptry src 2>&1) \
	        || { echo "$$package: $$found"; exit 1; }; \
	done
	@$(BIN)/loq
	@$(BIN)/vulture
	@echo "lint, types and contracts: clean"

fmt: $(VENV)/.dev ## format the code and apply automatic fixes
	@$(BIN)/ruff check --fix --quiet; $(BIN)/ruff format

bench: $(VENV)/.dev ## measure throughput and latency against stock taskiq-redis
	@$(BIN)/python tests/bench $(ARGS)

docs: $(VENV)/.dev ## write docs/reference.md, and the tables of docs/reliability.md and docs/telemetry.md
	@$(BIN)/python docs/generate.py && $(BIN)/python docs/faults.py && $(BIN)/python docs/alerts.py

soak: $(VENV)/.dev ## inject faults under load, replayable by a seed (ARGS="--minutes 60 --seed 7")
	@$(BIN)/python tests/soak $(ARGS)

alerts: $(VENV)/.dev ## provoke every alert on real services (needs prometheus and prometheus-alertmanager)
	@$(BIN)/python tests/alerts $(ARGS)

lock: $(VENV)/.dev ## refresh the locks in requirements/ (to the newest versions: ARGS=--upgrade)
	@PATH="$(CURDIR)/$(BIN):$$PATH" requirements/lock $(ARGS)

version: $(VENV)/.up ## print the version of everything; write a new one (ARGS=0.2.0)
	@$(BIN)/python deploy/version.py $(ARGS)

packages: $(VENV)/.dev ## build wheels and sdists of all four into dist/, and check them
	@rm -rf dist
	@for package in $(PACKAGES); do \
	    (cd $$package && $(CURDIR)/$(BIN)/python -m hatchling build --directory $(CURDIR)/dist >/dev/null) || exit 1; \
	done
	@$(BIN)/python -m twine --no-color check --strict dist/*

clean: ## remove the environment and all caches; the data in .duly/ stays
	@rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

include deploy/make.mk

# Stamps: remade only when a lock or a pyproject has changed.
$(VENV)/.up: requirements/up.txt $(PYPROJECTS)
	$(call make_environment,up,about 30 s)
	@touch $@

$(VENV)/.dev: requirements/dev.txt requirements/up.txt $(PYPROJECTS)
	$(call make_environment,dev,about 60 s)
	@touch $(VENV)/.up $@
