# Everything is done by tools/run.py; this only gives it the names that make users expect.
# make test ARGS="-k masks" passes arguments on; make demo PYTHON=python3.12 chooses the Python.

PYTHON ?= python3
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help install demo test check lint bench bench-full wasm guide docs clean

help install demo test check lint bench bench-full wasm guide docs clean:
	@$(PYTHON) tools/run.py $@ $(ARGS)
