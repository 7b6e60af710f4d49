# Each target makes the environment it needs; the first call installs about 7 GB into .venv.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
PACKAGE := -c constraints.txt -e '.[pipeline,serve,export,heic,raw,video,faces,stack,docs,dev]'

export RAY_USAGE_STATS_ENABLED := 0
export MLFLOW_DISABLE_TELEMETRY := true
export DO_NOT_TRACK := true

.DEFAULT_GOAL := help
MODEL ?= bundled
.PHONY: help env demo try web stack stack-stop docs test test-all lint format audit clean

help: ## Show this list
	@echo 'Usage: make TARGET [PYTHON=python3.12]'
	@echo
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1\t\2/p' $(MAKEFILE_LIST) | expand -t 14

env: $(INSTALLED) ## Install everything into .venv (once; about 7 GB, 1 to 5 minutes)

demo: $(INSTALLED) ## Train on sample photos; show before/after pictures and numbers (2 to 5 minutes on 2 cores)
	@$(BIN)/python pipelines/train.py

try: $(INSTALLED) ## Serve a page on this machine: drop a photo, see before and after
	@$(BIN)/python pipelines/demo.py

web: $(INSTALLED) ## Build the page that enhances inside a browser into web/dist (needs Node.js 20; MODEL=FOLDER for another model)
	@command -v npm > /dev/null || { echo 'npm is not here: install Node.js 20 or newer (Debian, Ubuntu: apt-get install npm)' >&2; exit 1; }
	@rm -rf web/model
	@$(BIN)/python pipelines/export.py --model '$(MODEL)' --output web/model --format tiles
	@cd web && npm ci --ignore-scripts --no-audit --no-fund --silent && node build.mjs model dist

stack: $(INSTALLED) ## Start an S3 server and an MLflow server on this machine; print the environment to export
	@$(BIN)/python -m cluster.local start

stack-stop: $(INSTALLED) ## End what `make stack` started; the data stays in .stack
	@$(BIN)/python -m cluster.local stop

docs: $(INSTALLED) ## Build the site of docs/ into site/: open site/index.html; nothing is loaded from elsewhere
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet

test: $(INSTALLED) ## Run the unit and the integration tests (under 12 minutes on 2 cores)
	@$(BIN)/python -m pytest -n logical tests/unit
	@$(BIN)/python -m pytest -n 2 --dist loadfile -m 'not drill' tests/integration

test-all: test ## And the drills: whole trainings and sweeps, machines and servers that fail (50 minutes on 2 cores)
	@$(BIN)/python -m pytest -n 2 --dist loadfile -m drill tests/integration

lint: $(INSTALLED) ## Check style, formatting and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(INSTALLED) ## Put the code into the house's format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

audit: $(INSTALLED) ## Look for known holes in the packages of constraints.txt (asks osv.dev)
	@UVX=$(BIN)/uvx .ci/audit

clean: ## Remove the environment and caches; runs and their records stay
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist site web/node_modules web/model web/dist
	find lle lle_platform pipelines cluster tests benchmarks -name __pycache__ -prune -exec rm -rf {} +

$(BIN)/pip:
	@command -v '$(PYTHON)' > /dev/null || \
	  { echo "$(PYTHON) is not here: install Python 3.11 or newer, or name one: make PYTHON=/path/to/python3" >&2; exit 1; }
	@'$(PYTHON)' -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "$$('$(PYTHON)' --version) is too old: install Python 3.11 or newer, or name one: make PYTHON=/path/to/python3" >&2; exit 1; }
	@'$(PYTHON)' -c 'import ensurepip, venv' 2> /dev/null || \
	  { echo "$(PYTHON) cannot make environments: install its venv module (Debian, Ubuntu: apt-get install python3-venv)" >&2; exit 1; }
	@'$(PYTHON)' -m venv $(VENV)

$(INSTALLED): pyproject.toml constraints.txt | $(BIN)/pip
	@echo 'Installing into $(VENV) (about 7 GB, 1 to 5 minutes) ...'
	@{ $(BIN)/python -m pip install --quiet -c constraints.txt uv && \
	   $(BIN)/uv pip install --python $(BIN)/python --compile-bytecode $(PACKAGE); } || \
	  { echo 'uv failed; trying pip, which takes longer ...'; $(BIN)/python -m pip install $(PACKAGE); }
	@touch $@
