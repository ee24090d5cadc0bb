# Everything runs in the one .venv, which each target makes if it is not there. PYTHON=python3.12 chooses another Python.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
DEMO := build/demo

.PHONY: demo test test-all lint bench clean

$(READY): pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Python 3.11 or newer is needed: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[dev]"
	touch $@

demo: $(READY)
	$(BIN)/harness eval --model pixel-mean,pixel-stats,single-conv,untrained:resnet18 --tasks synthetic-mini --seeds 0 \
		--store $(DEMO)/store --output $(DEMO)/results
	$(BIN)/harness leaderboard merge $(DEMO)/results --output $(DEMO)/leaderboard.json

lint: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	rm -rf build/tree build/dist && mkdir -p build/tree
	$(BIN)/python -m build --wheel --no-isolation --outdir build/dist . > build/wheel.log
	$(BIN)/python -m zipfile -e build/dist/*.whl build/tree
	cp pyproject.toml build/tree/ && cd build/tree && ../../$(BIN)/lint-imports --no-cache

test: lint
	$(BIN)/python -Im pytest -m "not slow and not gpu"

test-all: lint
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[dev,xgboost]"
	$(BIN)/python -Im pytest

# The benchmarks that read real patches need a mirror of the data: make bench DATA=DIR
bench: $(READY)
	$(BIN)/python benchmarks/synthetic.py
	$(BIN)/python benchmarks/pca_ridge.py
	$(BIN)/python benchmarks/binning.py
	$(BIN)/python benchmarks/gcn.py
	$(BIN)/python benchmarks/decode.py
	test -z "$(DATA)" || $(BIN)/python benchmarks/embedding.py --data-dir "$(DATA)"
	test -z "$(DATA)" || $(BIN)/python benchmarks/passes.py --data-dir "$(DATA)"
	test -z "$(DATA)" || $(BIN)/python benchmarks/slide.py --data-dir "$(DATA)"
	test -z "$(DATA)" || $(BIN)/python benchmarks/hest1nn.py --data-dir "$(DATA)"

clean:
	rm -rf build dist *.egg-info .mypy_cache .ruff_cache
