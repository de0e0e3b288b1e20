# Two commands do all the set-up: `make speak` and `make test`. Everything lives in this folder: .venv, and what only
# tests need in .venv-clients and .venv-chatterbox.
.DEFAULT_GOAL := help
.PHONY: help env speak serve test test-original test-fast lint bench docs soak

BIN := .venv/bin
RUNTIME := .venv/.stamp-runtime
DEV := .venv/.stamp-dev
CHATTERBOX := .venv-chatterbox
ORIGINAL := .venv-chatterbox-original
# `make env GPU=1` adds Chatterbox on CUDA to .venv, GPU=0 on the CPU; without GPU there is no PyTorch in it.
SERVING := $(if $(GPU),.venv/.stamp-$(if $(filter 1,$(GPU)),cuda,cpu))
PYTEST_FLAGS ?=
# Files of tests at a time, on two cores: the gateway's wait for servers more than they compute, Chatterbox's compute.
SIDE_BY_SIDE ?= -n 3 --dist loadfile
COMPUTING ?= -n 2 --dist loadfile
# Servers, browsers and databases share the cores with each other: a test that fails is tried once more, and named as
# RERUN at the end, since it shows a race. .ci/run fails above two of them. `make test TRIES=` tries none again.
TRIES ?= --reruns 1 --reruns-delay 2 -r fER
SLOWEST := --durations=10
# What runs in under a minute: the rooms without servers, and one whole way of an utterance.
FAST := tests/cache tests/settings tests/speech tests/engines/test_fair_queue.py tests/engines/test_feeds.py \
	tests/engines/test_wire.py tests/backends/test_scripted.py tests/api/test_envelope.py tests/jobs/test_speaking.py
ORIGINAL_TESTS := $(addprefix tests/chatterbox/,test_distribution.py test_t3_parity.py test_engine_parity.py test_models.py)

help: ## what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## / && $$1 != "help" { printf "  make %-13s %s\n", $$1, $$2 }' Makefile

env: $(RUNTIME) $(SERVING) ## build .venv with the locked packages and voxgate itself; GPU=1 adds Chatterbox on CUDA

speak: $(RUNTIME) ## hear it: start a gateway, speak a sentence, write hello.mp3, stop
	@$(BIN)/python scripts/speak.py

serve: $(RUNTIME) ## keep a gateway running on 127.0.0.1:8000 (or VOXGATE_HOST, VOXGATE_PORT)
	@exec $(BIN)/voxgate serve

test: $(DEV) $(CHATTERBOX)/.stamp ## every test, Chatterbox's in an environment of their own
	@scripts/clients
	@scripts/browser
	@failed=0; \
	$(BIN)/python -m pytest $(SIDE_BY_SIDE) $(TRIES) $(SLOWEST) $(PYTEST_FLAGS) || failed=1; \
	echo "voxgate: the Chatterbox suite ($(CHATTERBOX))"; \
	$(CHATTERBOX)/bin/python -m pytest tests/chatterbox $(COMPUTING) $(TRIES) $(SLOWEST) $(PYTEST_FLAGS) || failed=1; \
	exit $$failed

test-original: $(ORIGINAL)/.stamp ## Chatterbox's parity with upstream's own package
	@$(ORIGINAL)/bin/python -m pytest $(ORIGINAL_TESTS) $(PYTEST_FLAGS)

test-fast: $(DEV) ## the tests that need no server, under a minute
	@$(BIN)/python -m pytest -m "not slow" $(SIDE_BY_SIDE) $(FAST) $(PYTEST_FLAGS)

lint: $(DEV) ## ruff, mypy --strict, and the rooms (import-linter)
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache

bench: $(DEV) $(CHATTERBOX)/.stamp ## every benchmark: a table each, and JSON in benchmarks/results
	@$(BIN)/python -m benchmarks
	@$(CHATTERBOX)/bin/python -m benchmarks

docs: $(DEV) ## renew the reference tables in docs/ and check every page
	@$(BIN)/python scripts/reference.py --write
	@$(BIN)/python -m pytest tests/docs $(PYTEST_FLAGS)

soak: $(DEV) ## the long fault tests: 10,000 job histories, 500 kills, 2,000 hostile inputs a test
	@VOXGATE_HISTORIES=10000 VOXGATE_KILL_ROUNDS=500 VOXGATE_FUZZ_EXAMPLES=2000 $(BIN)/python -m pytest -m soak --timeout=0 $(PYTEST_FLAGS)

$(RUNTIME): requirements/runtime.txt pyproject.toml scripts/env scripts/find-python
	@scripts/env runtime

$(DEV): requirements/dev.txt pyproject.toml scripts/env scripts/find-python
	@scripts/env dev

.venv/.stamp-cuda .venv/.stamp-cpu: $(RUNTIME) requirements/chatterbox.txt requirements/torch.txt
	@scripts/env $(patsubst .stamp-%,%,$(@F))

$(CHATTERBOX)/.stamp: $(DEV) requirements/chatterbox.txt requirements/torch.txt pyproject.toml scripts/env
	@scripts/env chatterbox

$(ORIGINAL)/.stamp: $(CHATTERBOX)/.stamp requirements/chatterbox-original.txt
	@scripts/env original
