# Everything from a fresh clone: each target sets up what it needs (a virtual environment in .venv, the compiled modules) and
# does nothing twice. Wanted on the machine: Python 3.11 or later with venv, and a C compiler.
#
#   make run         serve on port 6379                      ARGS="--port 7000 --workers 4"
#   make test        the whole test suite                    ARGS="tests/commands -k lpush"
#   make quick       what answers within half a minute
#   make lint        ruff and mypy
#   make bench       side by side with redis-server          ARGS="--quick"
#   make faults      kill and cut for long                   ARGS=…
#   make properties  random sequences for long               ARGS=…
#   make debug       build with checks on and no optimisation; the next other target builds as usual
#   make clean       remove what was built

VENV := .venv
BIN := $(VENV)/bin
ARGS ?=
# The first interpreter that is new enough; or say it: make PYTHON=/opt/python3.13/bin/python3
PYTHON ?= $(shell for python in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && echo $$python && break; done)

COMPILED := $(shell find mpkv -name '*.pyx' -o -name '*.pxd')
# Files that say when something was done last
INSTALLED := $(VENV)/.installed
BUILT := $(VENV)/.built
DEVELOPER := $(VENV)/.developer
DEBUG := $(VENV)/.debug

PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check
PYTEST := $(BIN)/python -m pytest
# A file of tests is one process's, so that its tests share their server. All in one process: JOBS=0
JOBS ?= auto

.PHONY: run test quick lint bench faults properties debug clean
.DEFAULT_GOAL := run

run: $(BUILT)
	exec $(BIN)/mpkv serve $(ARGS)

test: $(BUILT) $(DEVELOPER)
	$(PYTEST) -n $(JOBS) --dist loadfile $(ARGS)

quick: $(BUILT) $(DEVELOPER)
	$(PYTEST) -n $(JOBS) --dist loadfile $(QUICK) -k '$(QUICKLY)' $(ARGS)

QUICK := tests/test_rules.py tests/resp tests/config tests/shm tests/types tests/commands tests/metrics tests/server/test_clients.py
QUICKLY := not (Machine or any_sequence or as_the_definition or million or random_sequence)

lint: $(BUILT) $(DEVELOPER)
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: $(BUILT) $(DEVELOPER)
	$(BIN)/python loadtests/bench.py $(ARGS)

faults: $(BUILT) $(DEVELOPER)
	MPKV_FAULT_ROUNDS=20 $(PYTEST) --timeout=3600 tests/faults $(ARGS)

properties: $(BUILT) $(DEVELOPER)
	PROPERTY_EXAMPLES=1000 $(PYTEST) --timeout=3600 tests/properties $(ARGS)

debug: $(BUILT) $(DEVELOPER)
	touch $(DEBUG)
	MPKV_DEBUG=1 $(BIN)/python setup.py -q build_ext --inplace --force

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find mpkv -name '*.so' -delete -o -name '*.c' -delete
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# -- how it gets there -------------------------------------------------------------------------------------------------

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or later is needed; none was found. make PYTHON=/path/to/python3"; exit 1; }
	$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "on Debian, venv comes with: apt-get install python3-venv"; exit 1; }

# What builds is installed beside what runs, so that a changed .pyx is built again without a network. The compiled modules
# are left to the rule below: pip would build all of them every time.
$(INSTALLED): pyproject.toml | $(BIN)/python
	$(call requirements,["build-system"]["requires"])
	MPKV_BUILD_ONLY= $(PIP) install --no-build-isolation -e .
	touch $@

$(DEVELOPER): $(INSTALLED)
	$(call requirements,["project"]["optional-dependencies"]["dev"])
	touch $@

# Only what has changed; everything after `make debug`, or when setup.py says something else.
$(BUILT): $(COMPILED) setup.py $(INSTALLED)
	$(BIN)/python setup.py -q build_ext --inplace $(if $(wildcard $(DEBUG))$(and $(wildcard $@),$(filter setup.py,$?)),--force)
	rm -f $(DEBUG)
	touch $@

ifneq ($(wildcard $(DEBUG)),)
$(BUILT): rebuild-after-debug
.PHONY: rebuild-after-debug
endif

# Installs a list of pyproject.toml's
define requirements
	$(BIN)/python -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))$(1), sep="\n")' > $(VENV)/requirements.txt
	$(PIP) install -r $(VENV)/requirements.txt
endef
