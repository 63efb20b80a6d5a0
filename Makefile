# Every target first makes .venv with the project, its run-time extras and the development tools, exactly as
# requirements.lock has them. Needed on the machine: Python 3.11 or newer, pip and make.

PYTHON ?= $(firstword $(foreach name,python3 python3.13 python3.12 python3.11 python,\
	$(shell $(name) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $(name))))
VENV := .venv
RUN := $(VENV)/bin/python
READY := $(VENV)/.ready
PYTEST_ARGS ?=
CRASH_ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help setup demo test slow crash check format bench conformance lock clean

help:
	@echo 'make demo    a headend and a client: log in, lose the cable, resume, log off (seconds)'
	@echo 'make test    the whole test suite; PYTEST_ARGS="-k word" narrows it'
	@echo 'make slow    the tests that take half a minute each, with real peers'
	@echo 'make crash   kill the active unit of a failover pair 500 times under 200 clients (CRASH_ARGS="--kills N")'
	@echo 'make check   lint, formatting, types, layers'
	@echo 'make format  let the formatter rewrite what make check would refuse'
	@echo 'make bench   speed and memory, as JSON'
	@echo 'make conformance  prove the statements of the source document, and write docs/conformance.md'
	@echo 'make lock    resolve requirements.lock anew (needs a package index)'
	@echo 'make clean   remove all that these targets made'

demo: $(READY)
	@$(RUN) -m asa_emu demo

test: $(READY)
	$(RUN) -m pytest $(PYTEST_ARGS)

slow: $(READY)
	$(RUN) -m pytest -m slow $(PYTEST_ARGS)

crash: $(READY)
	@$(RUN) -m tests.crash $(CRASH_ARGS)

check: $(READY)
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy
	$(VENV)/bin/lint-imports

format: $(READY)
	$(RUN) -m ruff format .
	$(RUN) -m ruff check --fix .

bench: $(READY)
	@$(RUN) -m bench

conformance: $(READY)
	@$(RUN) -m tests.conformance

setup: $(READY)

# Debian splits ensurepip off into python3-venv; where it is missing, the machine's own pip fills the environment.
# Without build isolation the project is built by the locked setuptools, so no index is asked for another one.
$(READY): requirements.lock pyproject.toml
	@test -n '$(PYTHON)' || { echo 'no Python 3.11 or newer found; name one: make PYTHON=/path/to/python' >&2; exit 1; }
	@$(RUN) -m pip --version >/dev/null 2>&1 \
		|| $(PYTHON) -m venv --clear $(VENV) >/dev/null 2>&1 \
		|| { $(PYTHON) -m venv --clear --without-pip $(VENV) && $(PYTHON) -m pip --python $(RUN) install --quiet pip; }
	$(RUN) -m pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements.lock
	$(RUN) -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@$(RUN) -m pip check || { echo 'requirements.lock is behind pyproject.toml: make lock' >&2; exit 1; }
	@touch $@

# --universal: one file for every platform and Python that the project supports, hence the markers in it.
lock:
	rm -rf $(VENV)-lock
	$(PYTHON) -m venv $(VENV)-lock
	$(VENV)-lock/bin/pip install --quiet --disable-pip-version-check uv
	echo 'setuptools>=75' | $(VENV)-lock/bin/uv pip compile --quiet --upgrade --universal --python-version 3.11 \
		--extra dev --generate-hashes --no-annotate --no-header --no-emit-index-url --no-emit-find-links \
		--output-file requirements.lock pyproject.toml -
	rm -rf $(VENV)-lock
	@! grep -nE '://|--(index|extra-index|find-links)|@ |^ *-e' requirements.lock

clean:
	rm -rf $(VENV) $(VENV)-lock build dist *.egg-info certs/out .coverage
	rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
