# Every target needs nothing before it but Python 3.11 or newer (`python3`, or PYTHON=...).
# TORCH_INDEX=URL chooses where torch comes from; see README, "Install".

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PYTEST := $(BIN)/python -m pytest
ARGS ?=
# Test processes; those that share a running service stay in one.
WORKERS ?= 2

.PHONY: sbom audit demo drill serve test test-all check format bench bundle generated clean help

help:            ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

$(VENV)/.runtime: pyproject.toml constraints.txt docker/install-python.sh
	PYTHON=$(PYTHON) docker/install-python.sh $(VENV)
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt docker/install-python.sh
	PYTHON=$(PYTHON) docker/install-python.sh $(VENV) dev
	@touch $@ $(VENV)/.runtime

tests/node/node_modules: tests/node/package.json tests/node/package-lock.json
	@if command -v npm >/dev/null && (cd tests/node && npm ci --no-audit --no-fund --loglevel=error); then touch $@; \
	elif [ -n "$$LANG1_REQUIRE_ALL" ]; then echo "npm ci failed in tests/node" >&2; exit 1; \
	else echo "without npm and its registry the FHIR validators' tests are skipped"; fi

demo: $(VENV)/.runtime   ## start the service, post a discharge summary and an H&P, print the risks, stop
	$(BIN)/lang1 demo $(ARGS)

drill: $(VENV)/.dev   ## play years of drift and repair through the live service; writes drill-report/
	$(BIN)/lang1 drill $(ARGS)

serve: $(VENV)/.runtime   ## the same service, staying up on http://127.0.0.1:8000
	$(BIN)/lang1 serve $(ARGS)

test: $(VENV)/.dev tests/node/node_modules   ## the tests, under five minutes
	$(PYTEST) -m "not slow" -n $(WORKERS) --dist loadgroup $(ARGS)

test-all: $(VENV)/.dev tests/node/node_modules   ## the slow ones too
	$(PYTEST) $(ARGS)

check: $(VENV)/.dev   ## style, types, layers, generated files
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m docs.generate --check
	$(BIN)/python -m helm.generate --check
	$(BIN)/python -m monitoring.generate --check

format: $(VENV)/.dev   ## put the code into form
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

generated: $(VENV)/.dev   ## rewrite the files and README parts that are made from code
	$(BIN)/python -m docs.generate
	$(BIN)/python -m helm.generate
	$(BIN)/python -m monitoring.generate

bench: $(VENV)/.dev   ## measure the packed pass against plain loops; writes bench/results/
	$(BIN)/python -m bench.packed $(ARGS)

bundle: $(VENV)/.dev   ## remake the demo bundle from nothing (about an hour and a half on two free cores)
	$(BIN)/lang1 train finetune --recipe demo --out lang1/demo_bundle $(ARGS)

sbom: $(VENV)/.dev   ## the software bill of materials of this environment: dist/sbom.cdx.json
	$(BIN)/python -m docs.sbom.make

audit: $(VENV)/.dev   ## known vulnerabilities of the pinned packages; needs the network (ARGS=--require fails without)
	$(BIN)/python -m docs.sbom.audit $(ARGS)

clean:           ## remove what the targets above made, but not the environment
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
