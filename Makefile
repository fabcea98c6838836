# The two commands that count: `make demo` and `make test`. Both work on a fresh machine with Python 3.11.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
ROUTES := routes/outbound.yaml routes/dmp.yaml routes/receipts.yaml routes/inbound.yaml

.PHONY: demo test check unit docs benchmark mutants lock schema reference clean debian

$(READY): requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "pfiflow needs Python 3.11 or newer; set PYTHON=")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

demo: $(READY)  ## the main job on embedded servers
	$(BIN)/python -m examples.demo

test: $(READY) debian check unit  ## everything that CI runs

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# What fails is run again, alone: tests with real servers and deadlines share two cores. A true failure fails twice.
# One worker more than there are cores: some tests wait. Work is stolen, so that no long test is left alone at the end.
unit: $(READY)
	$(BIN)/pytest -n $$(($$(nproc) + 1)) --dist worksteal || $(BIN)/pytest --last-failed --last-failed-no-failures none

debian:  ## real servers and checkers that some tests use; installed when this may be done, named when not
	@sh tests/debian.sh

docs: $(READY)  ## the site, in build/site; a broken link fails. Needs no network
	$(BIN)/sphinx-build -q -E -W --keep-going -n -b html -d build/doctrees docs build/site
	@echo "build/site/index.html"

mutants: $(READY)  ## every mutant of the shipped routes, against lint and their tests; some minutes of CPU
	$(BIN)/python -m tests.routes.hunt

benchmark: $(READY)
	$(BIN)/python -m benchmarks.outbound
	$(BIN)/python -m benchmarks.inbound

lock: $(READY)  ## pin every dependency again, with hashes
	$(BIN)/pip-compile --quiet --generate-hashes --allow-unsafe --strip-extras --no-emit-index-url --no-emit-find-links --extra simulators --extra aioimaplib --extra docs --extra dev --output-file requirements.lock pyproject.toml

schema: $(READY)
	$(BIN)/pfiflow schema > schemas/route-file.schema.json
	$(BIN)/pfiflow schema --tests > schemas/test-file.schema.json

reference: $(READY)  ## docs/reference, from the declarations of the components
	$(BIN)/pfiflow describe --all --format markdown --output docs/reference
	$(BIN)/pfiflow graph $(ROUTES) --format svg --output docs/reference/routes.svg
	$(BIN)/pfiflow graph $(ROUTES) --format svg --detail steps --output docs/reference/steps.svg

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis demo-output build
