# The one door to the tools. Every word makes its own virtual environment first, and only when something changed.

PYTHON ?= python3
SETPOINT_VENV ?= .venv
VENV := $(abspath $(SETPOINT_VENV))
BIN := $(VENV)/bin
TESTS ?= tests/unit tests/property tests/integration tests/acceptance
WORKERS ?= 3
SEED ?= 1
SAMPLE ?= 0
KILLS ?= 40
SEEDS ?= 20000
FROM ?= 0

.DEFAULT_GOAL := help
.PHONY: help setup demo test bench chaos sim model ablate coverage mutants dry check fix proto lock clean

help: ## list these words
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## make or refresh the virtual environment (the other words do this by themselves)
	@PYTHON="$(PYTHON)" .ci/bootstrap "$(VENV)"

demo: setup ## start the whole stack in a temporary directory and watch a project converge
	@"$(BIN)/setpoint" demo

test: setup ## run all tests (TESTS=path for some, WORKERS=0 for one at a time)
	@"$(BIN)/python" -m pytest -q -n $(WORKERS) --dist loadfile $(TESTS)

bench: setup ## measure (BENCH=name; without a name: list the benches), results to stdout only
	@"$(BIN)/python" -m tests.bench $(BENCH)

chaos: setup ## kill daemons under load, then check what is left (SEED=n KILLS=n)
	@"$(BIN)/python" -m tests.chaos --seed $(SEED) --kills $(KILLS)

sim: setup ## simulated worlds under faults, on all cores (SEEDS=n FROM=n WORKERS=n; 20,000 schedules)
	@"$(BIN)/python" -m tests.sim --seeds $(SEEDS) --from $(FROM) \
		$(if $(filter file,$(origin WORKERS)),,--workers $(WORKERS))

model: setup ## check the protocol's models and their mutants with spin (RULES="NO_MARK" for some)
	@"$(BIN)/python" -m tests.model $(RULES)

ablate: setup ## take the rules out one at a time: each time a test must fail (RULES="R1 G5" for some)
	@"$(BIN)/python" -m tests.ablate $(RULES)

coverage: setup ## branch coverage: of the pure rooms by unit and property tests, of the tree by all tests
	@"$(BIN)/python" -m tests.gates.coverage

mutants: setup ## change the pure rooms line by line and see whether a test notices (SAMPLE=n SEED=n, all: hours)
	@"$(BIN)/python" -m tests.gates.mutants --sample $(SAMPLE) --seed $(SEED)

dry: setup ## look for code that stands twice
	@"$(BIN)/pylint" --disable=all --enable=duplicate-code --min-similarity-lines=6 --ignore-imports=y \
		--ignore-signatures=y --reports=y setpoint gateway broker celld sandboxd migrations

check: setup ## lint, format, types, import contracts, house rules
	@"$(BIN)/ruff" check .
	@"$(BIN)/ruff" format --check .
	@"$(BIN)/mypy"
	@"$(BIN)/lint-imports"
	@"$(BIN)/python" -m pytest -q tests/house

fix: setup ## repair what lint and format can repair
	@"$(BIN)/ruff" check --fix .
	@"$(BIN)/ruff" format .

proto: setup ## write proto/ from the contracts and the routes
	@"$(BIN)/python" proto/generate.py
	@for name in resource project; do "$(BIN)/setpoint" schema $$name > proto/schemas/$$name.json; done
	@"$(BIN)/python" -m gateway.openapi > proto/openapi.json.new && mv proto/openapi.json.new proto/openapi.json

lock: setup ## resolve pyproject.toml into requirements.lock: hashes, no addresses
	@"$(BIN)/uv" pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
		--no-emit-find-links --no-annotate --no-header --extra dev pyproject.toml -o requirements.lock

clean: ## remove the virtual environment and all caches
	@rm -rf "$(VENV)" .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis build dist
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
