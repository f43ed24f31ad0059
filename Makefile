# `make demo` and `make test` set up what they need; a fresh machine needs Python and make only.
PYTHON ?= python3
ifeq ($(OS),Windows_NT)
BIN := .venv/Scripts
else
BIN := .venv/bin
endif
READY := .venv/.ready

.PHONY: demo test lint types wheel benchmark gpu check clean

demo: $(READY)  ## transcribe the project's own recording and score the result
	$(BIN)/amt transcribe tests/data/demo.flac -o demo.mid --overwrite
	$(BIN)/amt evaluate tests/data/demo.mid demo.mid

test: $(READY)  ## run the tests
	$(BIN)/python -m pytest

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)
	$(BIN)/mypy

wheel: $(READY)  ## build the wheel, run it from an empty environment outside the checkout
	$(BIN)/python tests/check_wheel.py

benchmark: $(READY)  ## speed part by part, against what the machine's matrix product reaches
	$(BIN)/python -m tests.benchmarks.transkun

gpu: $(READY)  ## the tests that need a CUDA device
	$(BIN)/python -m pytest -m gpu

check: lint types test wheel  ## all that CI runs

clean:
	rm -rf .venv build dist demo.mid

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	$(BIN)/python -c "import pathlib; pathlib.Path('$(READY)').touch()"
