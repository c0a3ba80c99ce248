# One word per chore, the same word in CI. `make up` and `make test` need Python 3.11+ and make, nothing else.

PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3; do \
	$$p -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin
PORT ?= $(or $(FITSERVE_PORT),8080)

.PHONY: help up quick test soak coverage wheel environments conformance fuzz check container bench docs format clean

help:
	@echo "make up      train examples/train_iris.py, register it, serve it on port $(PORT) (PORT=… or FITSERVE_PORT=… for another)"
	@echo "make quick   the tests that start no process: about a minute on two cores"
	@echo "make test    of every feature the shortest proof, with $(WORKERS) workers (WORKERS=… for another number)"
	@echo "make soak    long counts of kills and repetitions, one test after the other"
	@echo "make coverage   the tests again, measuring which lines they and the processes they start run"
	@echo "make wheel   build the wheel, install it elsewhere and run the quick tests there, without the sources"
	@echo "make environments   models of many versions of scikit-learn and Python; downloads them"
	@echo "make conformance   clients of KServe, Triton and MLflow, Azure's server and schemathesis judge a gateway"
	@echo "make fuzz    ten minutes of coverage-guided fuzzing of every dialect's parser"
	@echo "make check   ruff and mypy --strict"
	@echo "make container   build and run the image with CONTAINER_ENGINE ($(CONTAINER_ENGINE)), and a packaged service"
	@echo "make docs    write the pages that are made from the code: docs/cli.md, python.md, settings.md"
	@echo "make bench   measure everything, also beside other servers, and write docs/benchmarks.md; needs wrk and a quiet machine for 40 minutes"
	@echo "make clean   remove .venv and caches; workspaces stay"

$(VENV)/.base: pyproject.toml
	@test -n "$(PYTHON)" || { echo "fitserve needs Python 3.11 or newer with venv and pip; none was found on the PATH" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing fitserve into $(VENV) (once; takes under a minute)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --only-binary numpy,scipy,scikit-learn,pandas -e .
	@touch $@

$(VENV)/.dev: pyproject.toml $(VENV)/.base
	@echo "installing what the tests need into $(VENV)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@

up: $(VENV)/.base
	@$(BIN)/fitserve up examples/train_iris.py --name iris --port $(PORT)

quick: $(VENV)/.dev
	$(BIN)/python -m pytest --quick -n 2

# Most tests wait for processes, so there are more workers than cores. Tests of a file share its gateway: a file stays with one worker.
WORKERS ?= 4
test: $(VENV)/.dev
	$(BIN)/python -m pytest -m 'not soak' -n $(WORKERS)

soak: $(VENV)/.dev
	$(BIN)/python -m pytest -m soak -s --durations 0

coverage: $(VENV)/.dev
	rm -f .coverage .coverage.*
	$(BIN)/coverage run -m pytest -m 'not soak' $(COVERAGE)
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report --skip-covered --sort=cover

wheel: $(VENV)/.dev
	PYTHON=$(BIN)/python scripts/wheel-test.sh

environments: $(VENV)/.dev
	FITSERVE_TEST_ENVIRONMENTS=1 $(BIN)/python -m pytest tests/environments -s

conformance: $(VENV)/.dev
	$(BIN)/python -m tests.conformance .conformance $(CONFORMANCE)

fuzz: $(VENV)/.dev
	$(BIN)/python -m tests.fuzz .fuzz

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Where no registry can be reached, scripts/base-image.sh makes the base image first. CONTAINER_RUN and CONTAINER_BUILD add flags.
CONTAINER_ENGINE ?= docker
CONTAINER_RUN ?=
CONTAINER_BUILD ?=

container: $(VENV)/.dev
	CONTAINER_ENGINE='$(CONTAINER_ENGINE)' CONTAINER_RUN='$(CONTAINER_RUN)' CONTAINER_BUILD='$(CONTAINER_BUILD)' \
		$(BIN)/python -m pytest tests/container -s --timeout 600

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(VENV)/.dev
	$(BIN)/python scripts/docs_cli.py
	$(BIN)/python scripts/docs_python.py
	$(BIN)/python scripts/docs_settings.py

bench: $(VENV)/.dev
	$(BIN)/python -m benchmarks --peers --all --report

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage .coverage.*
