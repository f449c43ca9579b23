# make env    the environment in .venv            make test   pytest and nbval
# make study  the small study on generated data   make check  lint, format, types, then make test
# make publish    claims, tables, costs and notebooks made again, after rows or code changed
# make speed  all speed figures, hours of a quiet machine   make cost   what the full study would take
# make picture    the committed pictures          make lock   newest versions that pyproject.toml allows
PYTHON ?= python3
BIN := .venv/bin
# A stamp newer than the lock file says that the environment is complete.
STAMP := .venv/.installed
export JUPYTER_PLATFORM_DIRS ?= 1
# Trust the certificates that the system trusts, as pip does: a company's own index may need it.
export UV_SYSTEM_CERTS ?= 1

.PHONY: env study cost publish speed test check lint lock picture clean

env: $(STAMP)

$(STAMP): requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, found " + sys.version)'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	VIRTUAL_ENV='$(CURDIR)/.venv' $(BIN)/uv pip install --requirement requirements.lock
	VIRTUAL_ENV='$(CURDIR)/.venv' $(BIN)/uv pip install --quiet --no-deps --editable .
	touch $@

# What config.yaml names; it goes on from where an earlier, interrupted one stopped.
study: $(STAMP)
	$(BIN)/snakemake --profile profiles/local
	@echo "The table and the maps: build/study/summary.html"

# What full.yaml would cost, from the rows that were measured.
cost: $(STAMP)
	$(BIN)/python benchmarks/cost.py

# What follows from the rows, written anew: `make test` compares it with what is committed.
EXECUTE := $(BIN)/jupyter nbconvert --to notebook --execute --inplace --ExecutePreprocessor.record_timing=False
publish: $(STAMP)
	$(BIN)/python -m adlib.study.publish
	$(BIN)/python benchmarks/cost.py
	ADLIB_CACHE=off OMP_NUM_THREADS=1 $(EXECUTE) notebooks/*.ipynb
	$(BIN)/ruff format --quiet notebooks

# One CSV a topic in results/speed, then the notebook that shows them. peers.py makes an environment of its own.
SPEED := metrics decoding training inference turns export peers growth roofline accuracy
speed: $(STAMP)
	set -e; for topic in $(SPEED); do echo $$topic; $(BIN)/python benchmarks/$$topic.py; done
	$(EXECUTE) notebooks/speed.ipynb

test: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 --dist loadfile --nbval --nbval-current-env \
	  --nbval-sanitize-with tests/nbval.cfg notebooks

check: lint test

lint: $(STAMP)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

# Resolve the newest versions that pyproject.toml allows; commit the result after `make check`.
lock: $(STAMP)
	$(BIN)/uv pip compile pyproject.toml --extra dev --extra study --universal --python-version 3.11 --no-header --no-annotate \
		--no-emit-index-url --upgrade --output-file requirements.lock

picture: $(STAMP)
	$(BIN)/python results/figures/make.py

clean:
	rm -rf build
