# Everything from a fresh clone: each target sets up what it needs (a virtual environment in .venv, the compiled modules) and
# does nothing twice. Wanted on the machine: Python 3.11 or later with venv, and a C compiler.
#
#   make run         serve on port 6379                      ARGS="--port 7000 --workers 4"
#   make build       build, and serve nothing yet
#   make test        the whole test suite                    ARGS="tests/commands -k lpush"
#   make quick       what answers within half a minute
#   make lint        ruff and mypy
#   make bench       side by side with redis-server          ARGS="--quick"
#   make loadtest    a minute of load, and whether it holds  PROFILE=cache HOST=db:6379 (loadtests/README.md)
#   make soak        load and restarts for an hour           HOURS=12 or MINUTES=10
#   make sanitize    the tests of compiled modules under AddressSanitizer and UBSan    ARGS=…, SHORT=1: four minutes
#   make fuzz        mutated requests, replies, batches and snapshots to that build   MINUTES=10 for each
#   make nightly     ten minutes of soak, the two above, and the two below
#   make faults      kill and cut for long                   ARGS=…
#   make properties  random sequences for long               ARGS=…
#   make dashboards  write the Grafana board that is shipped, after a change of its panels
#   make debug       build with checks on and no optimisation; the next other target builds as usual
#   make clean       remove what was built

VENV := .venv
BIN := $(VENV)/bin
ARGS ?=
# The first interpreter that is new enough; or say it: make PYTHON=/opt/python3.13/bin/python3
PYTHON ?= $(shell for python in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && echo $$python && break; done)

# A server is several processes, and the tests start hundreds: Python is to compile its modules once, even in a shell that
# says it should not keep what it has compiled
export PYTHONDONTWRITEBYTECODE :=

COMPILED := $(shell find mpkv -name '*.pyx' -o -name '*.pxd')
# Files that say when something was done last
INSTALLED := $(VENV)/.installed
BUILT := $(VENV)/.built
DEVELOPER := $(VENV)/.developer
DEBUG := $(VENV)/.debug
# locust patches what it is imported into and adds a plugin to pytest: it has an environment of its own
LOADTEST_VENV := .venv-loadtest
LOCUST := $(LOADTEST_VENV)/.installed

PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check
PYTEST := $(BIN)/python -m pytest
# A file of tests is one process's, so that its tests share their server. Many wait for a moment rather than compute:
# hence one process more than there are cores. All in one process: JOBS=0
JOBS ?= $(shell echo $$(($$(nproc) + 1)))

.PHONY: run build test quick lint bench loadtest soak sanitize fuzz nightly faults properties dashboards debug clean
.DEFAULT_GOAL := run

run: $(BUILT)
	exec $(BIN)/mpkv serve $(ARGS)

build: $(BUILT)

test: $(BUILT) $(DEVELOPER) $(LOCUST)
	$(PYTEST) -n $(JOBS) --dist loadfile $(ARGS)

quick: $(BUILT) $(DEVELOPER)
	$(PYTEST) -n $(JOBS) --dist loadfile $(QUICK) -k '$(QUICKLY)' $(ARGS)

QUICK := tests/test_rules.py tests/resp tests/config tests/shm tests/types tests/commands tests/metrics tests/server/test_clients.py
SLOW := Machine or any_sequence or as_the_definition or million or random or test_dashboards or test_alert_rules \
	or however_they or scan_returns or of_fairness or descriptors_that or its_whole_list
QUICKLY := not ($(SLOW) or four_workers or hiredis_reads or waits_no_longer or same_tag or redis_sees_the_same \
	or shards_together or asyncio_subscribers)

lint: $(BUILT) $(DEVELOPER)
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: $(BUILT) $(DEVELOPER)
	$(BIN)/python loadtests/bench.py $(ARGS)

# Only what is given to make itself: many a shell exports a HOST of its own
given = $(if $(findstring command line,$(origin $(1))),--$(2) '$($(1))')
LOAD = $(call given,RATE,rate) $(call given,USERS,users) $(call given,KEYS,keys) $(call given,PROCESSES,processes) \
	$(call given,WORKERS,workers) $(call given,P99_MS,p99-ms)

loadtest: $(BUILT) $(DEVELOPER) $(LOCUST)
	$(BIN)/python loadtests/load.py $(call given,HOST,host) $(call given,METRICS,metrics) \
		$(call given,PROFILE,profile) $(call given,SECONDS,seconds) $(LOAD) $(ARGS)

soak: $(BUILT) $(DEVELOPER) $(LOCUST)
	$(BIN)/python loadtests/soak.py $(call given,HOURS,hours) $(call given,MINUTES,minutes) $(LOAD) $(ARGS)

nightly:
	$(MAKE) --no-print-directory soak MINUTES=10
	$(MAKE) --no-print-directory sanitize
	$(MAKE) --no-print-directory fuzz
	$(MAKE) --no-print-directory faults
	$(MAKE) --no-print-directory properties

# Under the sanitizers each piece of memory is malloc's and has bounds of its own; what divides memory itself runs once
# more with that (mpkv/types/sanitize.h). CPython frees little at its end: leaks are the business of the store's accounts.
# The first process of tests that ends so ends the run, or pytest would wait for it. UBSan reports to stderr only, as it
# is preloaded behind ASan: hence the capture.
SANITIZED := build/sanitized
REPORT := $(CURDIR)/build/sanitizer-report
UNDER_SANITIZERS = PYTHONPATH='$(CURDIR)/$(SANITIZED)' PYTHONSAFEPATH=1 PYTHONMALLOC=malloc \
	LD_PRELOAD="$$(gcc -print-file-name=libasan.so) $$(gcc -print-file-name=libubsan.so)" \
	ASAN_OPTIONS=detect_leaks=0:log_path=$(REPORT) UBSAN_OPTIONS=print_stacktrace=1 \
	$(PYTEST) -p no:faulthandler -o pythonpath='$(SANITIZED) . loadtests' -n $(JOBS) --dist loadfile --timeout=900 \
	--max-worker-restart=0 --capture=sys
SANITIZED_TESTS := tests/types tests/resp tests/shm tests/workers tests/snapshot tests/fuzz tests/frontend tests/commands
SANITIZED_QUICKLY := not ($(SLOW)) and not crafted_names_cost and not takes_no_longer

.PHONY: sanitized
sanitized: $(BUILT) $(DEVELOPER)
	MPKV_SANITIZE=1 $(BIN)/python setup.py -q build --build-base $(SANITIZED).objects --build-lib $(SANITIZED)
	rm -f $(REPORT).*

sanitize: sanitized
ifdef SHORT
	$(UNDER_SANITIZERS) tests/types tests/resp tests/shm tests/workers tests/fuzz \
		-k '$(SANITIZED_QUICKLY)' $(ARGS) || $(REPORTED)
	MPKV_OWN_MEMORY=1 MODEL_OPERATIONS=4000 $(UNDER_SANITIZERS) tests/types/test_allocator.py \
		tests/types/test_long_models.py || $(REPORTED)
else
	$(UNDER_SANITIZERS) $(SANITIZED_TESTS) $(ARGS) || $(REPORTED)
	MPKV_OWN_MEMORY=1 $(UNDER_SANITIZERS) tests/types tests/workers tests/snapshot $(ARGS) || $(REPORTED)
endif

# From another seed every time; the one of a finding is in its report
fuzz: sanitized
	FUZZ_SECONDS=$$((60 * $(or $(MINUTES),10))) FUZZ_SEED=$$(date +%s) $(UNDER_SANITIZERS) --timeout=0 tests/fuzz $(ARGS) \
		|| $(REPORTED)

REPORTED = { cat $(REPORT).* 2>/dev/null; false; }

faults: $(BUILT) $(DEVELOPER)
	MPKV_FAULT_ROUNDS=20 $(PYTEST) --timeout=3600 tests/faults $(ARGS)

properties: $(BUILT) $(DEVELOPER)
	PROPERTY_EXAMPLES=1000 MODEL_OPERATIONS=1000000 $(PYTEST) --timeout=3600 tests/properties \
		tests/types/test_long_models.py $(ARGS)

dashboards: $(BUILT) $(DEVELOPER)
	$(BIN)/python -m mpkv.metrics.grafana.board

debug: $(BUILT) $(DEVELOPER)
	touch $(DEBUG)
	MPKV_DEBUG=1 $(BIN)/python setup.py -q build_ext --inplace --force

clean:
	rm -rf $(VENV) $(LOADTEST_VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
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
	$(call requirements,["project"]["optional-dependencies"]["dashboards"])
	touch $@

$(LOCUST): pyproject.toml | $(BIN)/python
	test -x $(LOADTEST_VENV)/bin/python || $(BIN)/python -m venv $(LOADTEST_VENV)
	$(call requirements,["project"]["optional-dependencies"]["loadtest"],$(LOADTEST_VENV))
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

# Installs a list of pyproject.toml's, into another environment if one is named
define requirements
	$(BIN)/python -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))$(1), sep="\n")' > $(or $(2),$(VENV))/requirements.txt
	$(if $(2),$(2)/bin/python -m pip --quiet --disable-pip-version-check,$(PIP)) install -r $(or $(2),$(VENV))/requirements.txt
endef
