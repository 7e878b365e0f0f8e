# The two that matter: `make run` (the demonstration) and `make test`. `make help` lists the rest.
# Nothing is installed outside this folder, except that `make test`, as root on Debian, adds
# Chromium, nginx and mpv. PYTHON=/path/to/python3.12 chooses the interpreter.

PYTHON ?=
VENV ?= .venv
BIN := $(VENV)/bin
DEMO ?= .demo
ARGS ?=
TESTS ?= tests
WORKERS ?= 2
BENCHMARKS ?= voice store sync portal blobs
SOAK_S ?= 3600
CHAOS_KILLS ?= 500
CHAOS_ROUNDS ?= 20
SIMULATE_S ?= 600
WORLDS ?= 30
CRASH_ROUNDS ?= 20
TORCH ?= torch==2.13.0

# A stamp stands for "installed as pyproject.toml and constraints.txt now say".
VENV_STAMP := $(VENV)/.beira-venv
RUN_STAMP := $(VENV)/.beira-run
DEV_STAMP := $(VENV)/.beira-dev
TRAIN_STAMP := $(VENV)/.beira-train
INSTALL := $(BIN)/uv pip install --compile-bytecode --python $(BIN)/python -c constraints.txt

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help run test test-long check lint types imports format assets test-parts wheel bench soak \
	chaos crash simulate mutants screens train-voice reference constraints clean-demo clean

help: ## What can be made
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

run: $(RUN_STAMP) assets ## Start the demonstration: a cloud, its portal and three nodes
	@exec $(BIN)/beira demo $(ARGS)

test: test-parts check ## Lint, types, import rules and all tests, on two workers (WORKERS=0: on one)
	@$(BIN)/pytest -n $(WORKERS) --dist loadfile $(TESTS) $(ARGS)

check: lint types imports ## What needs no running: lint, types, import rules

lint: $(DEV_STAMP)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: $(DEV_STAMP)
	@$(BIN)/mypy

imports: $(DEV_STAMP)
	@$(BIN)/lint-imports --config .importlinter

format: $(DEV_STAMP) ## Format the code, and mend what ruff can
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

bench: $(DEV_STAMP) assets ## Every benchmark, quickly: one JSON object a line
	@status=0; for name in $(BENCHMARKS); do \
		$(BIN)/python -m benchmarks.$$name --quick $(ARGS) || status=1; \
	done; exit $$status

test-long: test-parts ## The stories that are too long for every run
	@$(BIN)/pytest -m long --timeout 300 tests $(ARGS)

soak: test-parts ## A long run under load (SOAK_S=3600)
	@BEIRA_SOAK_S=$(SOAK_S) $(BIN)/pytest -m soak --timeout 0 tests $(ARGS)

simulate: $(DEV_STAMP) ## Worlds of nodes and clouds in virtual time, each another seed (SIMULATE_S=600)
	@$(BIN)/python -m tests.simulation.simulate --seconds $(SIMULATE_S) $(ARGS)

mutants: $(DEV_STAMP) ## Faults put into the product on purpose: does the simulation see them? (WORLDS=30 each)
	@$(BIN)/python -m tests.simulation.mutants --worlds $(WORLDS) $(ARGS)

chaos: test-parts ## Kill, cut and corrupt, over and over (CHAOS_KILLS=500)
	@BEIRA_CHAOS_KILLS=$(CHAOS_KILLS) BEIRA_CHAOS_ROUNDS=$(CHAOS_ROUNDS) $(BIN)/pytest -m chaos --timeout 0 tests $(ARGS)

crash: test-parts ## Power cuts, kills and lost pages, all of them (CRASH_ROUNDS=20)
	@BEIRA_CRASH_ROUNDS=$(CRASH_ROUNDS) $(BIN)/pytest --timeout 0 tests/crash tests/unit/store/test_salvage.py $(ARGS)

screens: test-parts ## Take the portal's pictures for docs/pictures, in both themes and sizes
	@BEIRA_SCREENS=docs/pictures $(BIN)/pytest -m screens --timeout 300 tests $(ARGS)

train-voice: $(TRAIN_STAMP) ## Make the speech data and train the recogniser again (about an hour)
	@$(BIN)/python -m training.make_data
	@$(BIN)/python -m training.train $(ARGS)

wheel: $(RUN_STAMP) ## Build dist/beira-*.whl, with the portal's scripts and fonts in it
	@$(BIN)/uv build --wheel --quiet --out-dir dist .
	@ls dist/*.whl

reference: $(DEV_STAMP) ## Write docs/reference anew from the code
	@$(BIN)/python tools/reference.py

constraints: $(VENV_STAMP) ## Write constraints.txt anew from pyproject.toml
	@PYTHON="$(PYTHON)" sh tools/constraints.sh $(BIN)/uv

clean-demo: ## Forget the demonstration's data
	@sh tools/clean_demo.sh $(DEMO)

clean: ## Remove what was built and cached; the demonstration's data stays
	@rm -rf $(VENV) .cache .mypy_cache .pytest_cache .ruff_cache .hypothesis \
		.import_linter_cache build dist src/beira/portal/static/vendor

assets: | $(RUN_STAMP)
	@$(BIN)/python tools/assets.py

test-parts: $(DEV_STAMP)
	@$(BIN)/python tools/assets.py --test
	@$(BIN)/python tools/node.py
	@sh tools/system.sh

# Looked at every time, since an environment may have been moved or half made; its stamp changes,
# and all is installed again, only when it had to be made anew.
$(VENV_STAMP): FORCE
	@sh tools/make_venv.sh $(VENV) $(PYTHON)
FORCE:

$(RUN_STAMP): pyproject.toml constraints.txt $(VENV_STAMP)
	@$(INSTALL) -e ".[cloud,voice,player]"
	@touch $@

$(DEV_STAMP): pyproject.toml constraints.txt $(VENV_STAMP)
	@$(INSTALL) -e ".[cloud,voice,player,home,dev]"
	@touch $@ $(RUN_STAMP)

# Only training needs torch; pip rather than uv, since a machine's pip may know a wheel for its CPU.
$(TRAIN_STAMP): $(VENV_STAMP) | $(DEV_STAMP)
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(INSTALL) pip
	@$(BIN)/python -m pip install --quiet $(TORCH)
	@touch $@
