# `make demo` and `make test` set up what they need; a fresh machine needs Python and make only.
PYTHON ?= python3
ifeq ($(OS),Windows_NT)
BIN := .venv/Scripts
else
BIN := .venv/bin
endif
READY := .venv/.ready

.PHONY: demo test lint types wheel benchmark gpu maps check clean

# Real recordings (MAPS as flat folders) for `make maps`, and where packs and runs go.
DATA ?= ../shared/data
BUILD ?= build

demo: $(READY)  ## transcribe the project's own recording and score the result
	$(BIN)/amt transcribe tests/data/demo.flac -o demo.mid --overwrite
	$(BIN)/amt evaluate tests/data/demo.mid demo.mid

# One process for each core, each of which computes with one thread.
test: export OMP_NUM_THREADS = 1
test: $(READY)  ## run the tests
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist worksteal

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)
	$(BIN)/mypy

wheel: $(READY)  ## build the wheel, run it from an empty environment outside the checkout
	$(BIN)/python tests/check_wheel.py

benchmark: $(READY)  ## speed on this machine: part by part, every network, live, training
	$(BIN)/python -m tests.benchmarks.transkun
	$(BIN)/python -m tests.benchmarks.networks
	$(BIN)/python -m tests.benchmarks.live
	$(BIN)/python -m tests.benchmarks.training

maps: $(READY)  ## pack MAPS, train the two-core recipe for 20 minutes, score it on the test recordings
	$(BIN)/amt pack maps $(DATA)/maps -o $(BUILD)/maps --validation-instrument SptkBGCl \
	    --exclude-compositions $(DATA)/maps/test_compositions.txt
	$(BIN)/amt train two-core --data $(BUILD)/maps -o $(BUILD)/two-core --resume auto --time-limit 20m
	$(BIN)/amt evaluate $(DATA)/maps/test --model $(BUILD)/two-core/model \
	    --onset-tolerance 0.05 --onset-tolerance 0.1

gpu: $(READY)  ## the tests that need a CUDA device
	$(BIN)/python -m pytest -m gpu

check: lint types test wheel  ## all that CI runs

clean:
	rm -rf .venv build dist demo.mid

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	$(BIN)/python -c "import pathlib; pathlib.Path('$(READY)').touch()"
