# Everything a person does here, one word each. `make` or `make help` lists them.

.DEFAULT_GOAL := help
.PHONY: help demo up test test-all lint on-call torture soak bench bench-quick bench-ledger bench-served lock sbom clean

SHELL := /bin/bash
VENV := .venv
BIN := $(VENV)/bin
# uv trusts the certificates that the system trusts, as pip and apt do; Python may cache its byte-code.
export UV_SYSTEM_CERTS := 1
export VIRTUAL_ENV := $(CURDIR)/$(VENV)
unexport PYTHONDONTWRITEBYTECODE
unexport PYTHONHOME
unexport PYTHONPATH

help: ## This list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/.installed ## Load the demo project into an embedded Postgres, start to end
	@$(BIN)/ingest demo

up: $(VENV)/.installed ## Postgres, the Dagster UI and its daemon; Ctrl-C ends all three
	@$(BIN)/ingest up

# Three workers for two cores: while one waits for a server, the others work.
test: $(VENV)/.installed-test ## Every test but the slow ones, on two cores, against real servers
	@.ci/debian-packages
	@.ci/npm-packages $(VENV)
	@$(BIN)/pytest -n 3 --dist loadfile --no-loadscope-reorder -m "not slow"

test-all: $(VENV)/.installed-test ## The slow ones, too, and all examples of each property (a night)
	@.ci/debian-packages
	@.ci/npm-packages $(VENV)
	@INGEST_TEST_EXAMPLES=1 $(BIN)/pytest -n 3 --dist loadfile --no-loadscope-reorder

lint: $(VENV)/.installed-test ## Format, lint, types, who may import whom, insecure code, secrets
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/bandit --quiet --recursive --configfile pyproject.toml ingest_pipelines
	@.ci/secrets $(BIN)

on-call: $(VENV)/.installed-test ## An hour with a fault a minute; is `ingest status` true? MINUTES=60
	@.ci/debian-packages
	@.ci/npm-packages $(VENV)
	@$(BIN)/python -m ingest_pipelines_tests.guarantees.on_call --minutes $(or $(MINUTES),60)

torture: $(VENV)/.installed-test ## 10,000 kills and cuts, a part at a time; goes on where it stopped. KILLS=500 SEED=1
	@.ci/debian-packages
	@.ci/npm-packages $(VENV)
	@$(BIN)/python -m ingest_pipelines_tests.guarantees.torture $(if $(KILLS),--kills $(KILLS)) $(if $(SEED),--seed $(SEED)) $(if $(PART),--part $(PART)) $(if $(SECONDS),--seconds $(SECONDS))

soak: $(VENV)/.installed-test ## An hour of 30 imports, a delivery a second, a kill a minute; does anything grow? MINUTES=60
	@.ci/debian-packages
	@.ci/npm-packages $(VENV)
	@$(BIN)/python -m ingest_pipelines_tests.guarantees.soak --minutes $(or $(MINUTES),60) $(if $(EVERY),--every $(EVERY)) $(if $(OUT),--out $(OUT))

bench: $(VENV)/.installed-test ## The measurements behind docs/performance.md (long)
	@$(BIN)/python -m ingest_pipelines_tests.benchmarks

bench-quick: $(VENV)/.installed-test ## The same on small files, to catch a regression
	@$(BIN)/python -m ingest_pipelines_tests.benchmarks --quick

bench-ledger: $(VENV)/.installed-test ## Every query on a ledger of 200,000 loads, with its plan (5 minutes)
	@$(BIN)/python -m ingest_pipelines_tests.benchmarks.ledger

bench-served: $(VENV)/.installed-test ## A thousand imports under `ingest up`, with files arriving (15 minutes)
	@$(BIN)/python -m ingest_pipelines_tests.benchmarks.served

# dbt-core 1.12 downloads a parser while it is installed, from an address that CI does not reach.
DBT := dbt-core<1.12 dbt-postgres dagster-dbt

lock: $(VENV)/.uv ## Newest versions that setup.py allows, into the lock files; what the product is made of, into the SBOM
	@$(BIN)/uv pip compile --quiet --no-header --upgrade --universal --python-version 3.11 --all-extras setup.py -o requirements-test.lock
	@$(BIN)/uv pip compile --quiet --no-header --upgrade --universal --python-version 3.11 -c requirements-test.lock setup.py -o requirements.lock
	@printf '%s\n' $(foreach each,$(DBT),'$(each)') | $(BIN)/uv pip compile --quiet --no-header --upgrade --universal --python-version 3.11 - -o requirements-dbt.lock
	@$(MAKE) --no-print-directory sbom

# What a deployment with every extra installs, as deploy/Dockerfile does; not the tools of the tests.
sbom: $(VENV)/.installed-test
	@$(BIN)/uv venv --quiet --clear --python $(BIN)/python build/deployed
	@$(BIN)/uv pip install --quiet --python build/deployed -r setup.py --extra all -c requirements-test.lock
	@$(BIN)/cyclonedx-py environment --output-reproducible build/deployed | $(BIN)/python -m json.tool --indent 1 --no-ensure-ascii - deploy/sbom.cdx.json
	@rm -rf build/deployed

clean: ## Remove the environment and all local state
	rm -rf $(VENV) .ingest build *.egg-info .mypy_cache .ruff_cache .import_linter_cache .hypothesis

# Marker files: the second run installs nothing.
$(VENV)/.uv:
	@.ci/virtual-environment $(VENV)
	@touch $@

$(VENV)/.installed: requirements.lock setup.py | $(VENV)/.uv
	@$(BIN)/uv pip install --quiet -r requirements.lock
	@$(BIN)/uv pip install --quiet --no-deps -e .
	@touch $@

$(VENV)/.installed-test: requirements-test.lock requirements.lock setup.py | $(VENV)/.uv
	@$(BIN)/uv pip install --quiet -r requirements-test.lock
	@$(BIN)/uv pip install --quiet --no-deps -e .
	@touch $@ $(VENV)/.installed
