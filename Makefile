# `make repro` runs the pipeline, `make test` the tests; both first create .venv from requirements.lock.
# All tools are run as modules, because the commands in .venv/bin name the folder that .venv was created in.
NEW_ENOUGH := import sys; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c '$(NEW_ENOUGH)' 2>/dev/null && echo $$p && break; done)
PORT ?= 5000
BIN := .venv/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)
export PYTHONUNBUFFERED := 1

.DEFAULT_GOAL := help
.PHONY: help repro test slurm llama-cpp cloud lint ui docs bench peers clean

help:  ## List the targets
	@grep -E '^[a-z-]+:.*## ' Makefile | sed -E 's/^([a-z-]+):.*## /  make \1\t/'

repro: .venv/ready  ## Run the whole pipeline: dvc repro
	python -m dvc repro

test: .venv/ready  ## Run all tests
	python -m pytest -n 2 --dist loadfile -m "not slurm"

llama-cpp: .venv/llama-cpp  ## Install llama.cpp and run the tests that compare with it
	python -m pytest tests/checkpoint/test_llama_cpp.py tests/cli/test_everywhere.py

cloud: .venv/cloud  ## Install S3, PostgreSQL's client and Optuna, and run the tests that need them
	python -m pytest -n 2 -m cloud

lint: .venv/ready  ## Check style and types
	python -m ruff check .
	python -m ruff format --check .
	python -m mypy

slurm: .venv/ready  ## Run the tests on a Slurm of two nodes, which they start here; needs root and Slurm
	python -m pytest -rs tests/slurm

ui: .venv/ready  ## Open the MLflow UI on 127.0.0.1 (PORT=5000)
	python -m steadyphi.tracking.ui $(PORT)

docs: .venv/ready  ## Build the documentation as pages in site/, without a network
	python -m mkdocs build --strict

bench: .venv/ready peers  ## Compare with other tools in the benchmarks, small sizes
	python -m benchmarks.score --quick
	python -m benchmarks.train --quick
	python -m benchmarks.convert --quick
	python -m benchmarks.fetch --quick
	python -m benchmarks.prepare --quick
	python -m benchmarks.generate --quick
	python -m benchmarks.search --quick
	python -m benchmarks.coverage --quick
	python -m benchmarks.equality --every 50

peers: .venv-peers/ready  ## Install the tools that the benchmarks compare with, in .venv-peers

clean:  ## Remove all outputs of the pipeline and the tools; keep .venv and the files in git
	rm -rf artifacts .cache mlflow.db* mlartifacts dvc_plots site .dvc/cache .dvc/tmp
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis

.venv/ready: requirements.lock pyproject.toml
	@sh scripts/check-tools.sh "$(PYTHON)"
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --disable-pip-version-check -q -r requirements.lock
	$(BIN)/python -m pip install --disable-pip-version-check -q --no-deps --no-build-isolation -e .
	@touch $@

.venv/llama-cpp: .venv/ready
	python -m pip install --disable-pip-version-check -q --no-deps xllamacpp==2026.10.11549 llama-cpp-py-sync==0.11739
	@touch $@

.venv/cloud: .venv/ready requirements-cloud.lock
	python -m pip install --disable-pip-version-check -q --no-deps -r requirements-cloud.lock
	@touch $@

.venv-peers/ready: benchmarks/peers.lock
	@sh scripts/check-tools.sh "$(PYTHON)"
	$(PYTHON) -m venv .venv-peers
	.venv-peers/bin/python -m pip install --disable-pip-version-check -q -r benchmarks/peers.lock
	@touch $@
