# Each target does its own set-up: a virtual environment with the tested versions, made once and again only when
# pyproject.toml or constraints.txt change.
PYTHON ?= python3
WORKERS ?= 2
BIN := .venv/bin
READY := .venv/.ready

# One thread a test process: several that spin beside each other are slower than one.
TEST := HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS)

.PHONY: test test-slow kinds campaigns quickstart benchmark lint setup clean

test: $(READY)
	$(TEST) -m "not slow and not campaign and not kinds"

test-slow: $(READY)
	$(TEST) -m "slow"

# Each cell of the README's table of kinds: some 220 chains on tiny models.
kinds: $(READY)
	$(TEST) -m "kinds"

# One at a time, with its figures printed: kills by the hundred (ALIGN_KILLS), five seeds of the quickstart.
campaigns: $(READY)
	HF_HUB_OFFLINE=1 $(BIN)/python -m pytest -s -m "campaign"

quickstart: $(READY)
	$(BIN)/align quickstart

benchmark: $(READY)
	HF_HUB_OFFLINE=1 $(BIN)/python benchmarks/compare.py --stage all --sizes M0 M1 --pairs 5 --output build/benchmarks/results.json

lint: $(READY)
	$(BIN)/ruff check .

setup: $(READY)

# torch first and by itself: where a build without CUDA is offered, pip takes it before anything asks for another.
$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "align needs Python 3.11 or newer: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet torch==2.13.0 -c constraints.txt
	$(BIN)/python -m pip install --quiet -e '.[dev]' -c constraints.txt
	touch $(READY)

clean:
	rm -rf .venv build *.egg-info
