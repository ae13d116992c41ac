# The commands of this project. Each makes the environment that it needs, so that a fresh clone can
# start with any of them. PYTHON=... selects the interpreter when the environment is made.

SHELL := bash
PYTHON ?=
ARGS ?=
BIN := .venv/bin
READY := .venv/.ready
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check

.PHONY: help demo test lint docs bench soak image clean

help:
	@echo "make demo    a secret's way from a store to an application, in one minute"
	@echo "make test    all tests but the long ones         (ARGS='tests/unit -k name')"
	@echo "make lint    ruff, formatting, mypy, completeness of types"
	@echo "make docs    links, anchors and examples of the documentation"
	@echo "make bench   every figure with its bar           (ARGS='get writer --check')"
	@echo "make soak    the long tests                      (ARGS='tests/fault')"
	@echo "make image   the sidecar's image, with the docker that is on the PATH"
	@echo "make clean   remove the environment, caches and build results"

demo: $(READY)
	@$(BIN)/secretbridge demo

test: $(READY)
	$(BIN)/python -m pytest $(ARGS)

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/unit/test_typing.py

docs: $(READY)
	$(BIN)/python -m pytest -q tests/unit/test_docs.py

bench: $(READY)
	@$(BIN)/python -m benchmarks $(ARGS)

# The limit per test is for tests that hang; a soak test is long on purpose.
soak: $(READY)
	SECRETBRIDGE_SOAK=1 $(BIN)/python -m pytest -m soak --timeout=14400 $(ARGS)

image:
	docker build -f sidecar/Dockerfile -t secretbridge-sidecar:0.1.0 \
		--build-arg REVISION="$$(git rev-parse HEAD)" $(ARGS) .

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist benchmarks/build
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Made again when the lock or the scripts of the distribution change; an environment that was left half
# made, or whose interpreter is gone or too old, is made from nothing.
$(READY): requirements/dev.txt pyproject.toml
	@set -euo pipefail; \
	new_enough() { "$$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }; \
	python="$(PYTHON)"; \
	if [[ -z $$python ]]; then \
		for candidate in python3 python3.13 python3.12 python3.11; do \
			if new_enough "$$candidate"; then python=$$candidate; break; fi; \
		done; \
		if [[ -z $$python ]]; then \
			echo "Python 3.11 or newer is needed and was not found on PATH:" \
				"install it, or name it with 'make PYTHON=/path/to/python3.11 ...'" >&2; \
			exit 2; \
		fi; \
	elif ! new_enough "$$python"; then \
		echo "PYTHON=$$python cannot be started or is older than Python 3.11" >&2; \
		exit 2; \
	fi; \
	if ! { new_enough $(BIN)/python && $(BIN)/python -c 'import pip' 2>/dev/null; }; then \
		if ! "$$python" -c 'import venv, ensurepip' 2>/dev/null; then \
			echo "$$python cannot make a virtual environment:" \
				"on Debian and Ubuntu 'apt install python3-venv'" >&2; \
			exit 2; \
		fi; \
		echo "making .venv with $$("$$python" --version) (about a minute)"; \
		"$$python" -m venv --clear .venv; \
	fi; \
	$(PIP) install --require-hashes -r requirements/dev.txt; \
	$(PIP) install --no-deps --no-build-isolation --editable .; \
	touch $@
