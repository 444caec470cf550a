# Every command of the house, for people and for CI alike. Each installs what it needs, once.
SETUP := bash deploy/setup.sh
PYTHON := .venv/bin/python

# One thread per process: the services are several processes that share the cores.
export OMP_NUM_THREADS ?= 1
export MKL_NUM_THREADS ?= 1

# Most tests wait for Kafka more than they compute.
TEST_PROCESSES ?= 3

# Each has a Kafka and a Redis of its own, and faults need room for two agents processes beside them.
FAULT_PROCESSES ?= 3
FAULTS := tests/faults

.DEFAULT_GOAL := help
.PHONY: help demo up test faults soak lint format types pytest docs bench-env clean

help:            ## Show this list
	@sed -n 's/^\([a-z-]*\):[^#]*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

demo:            ## Set up, then run the main job on this machine (DEMO_MINUTES=1: a short one)
	@$(SETUP) local
	@.venv/bin/stratagem demo

up:              ## Set up, then run the local stack and all services until Ctrl-C
	@$(SETUP) local
	@.venv/bin/stratagem up

test:            ## Set up, then check style, types and behaviour
	@$(SETUP) local test
	@$(MAKE) --no-print-directory lint
	@$(MAKE) --no-print-directory -j2 types pytest

faults:          ## Set up, then check that every fault leaves the profiles and rewards of an undisturbed run
	@$(SETUP) local test
	@$(PYTHON) -m pytest $(FAULTS) --numprocesses $(FAULT_PROCESSES) --dist loadfile

soak:            ## The same in longer forms: more kills, longer outages (20 minutes)
	@STRATAGEM_SOAK=1 $(MAKE) --no-print-directory faults

lint:            ## Check style
	@echo "ruff: style"
	@$(PYTHON) -m ruff check .
	@$(PYTHON) -m ruff format --check .

format:          ## Rewrite in the house's style
	@$(PYTHON) -m ruff check --fix .
	@$(PYTHON) -m ruff format .

types:           ## Check types
	@echo "mypy: types (half a minute the first time)"
	@$(PYTHON) -m mypy

pytest:          ## Check behaviour, against a real Kafka and Redis for each of TEST_PROCESSES
	@$(PYTHON) -m pytest --ignore $(FAULTS) --numprocesses $(TEST_PROCESSES) --dist loadfile

docs:            ## Set up, then build the site of the docs into .stratagem/docs
	@$(SETUP) docs
	@$(PYTHON) -m sphinx -q -W --keep-going -b html docs .stratagem/docs
	@echo "docs: .stratagem/docs/index.html"

bench-env:       ## Add what the benchmarks need
	@$(SETUP) local test bench

clean:           ## Remove the data of local runs; downloads and .venv stay
	@! test -d .stratagem || find .stratagem -mindepth 1 -maxdepth 1 ! -name cache ! -name base -exec rm -rf {} +
