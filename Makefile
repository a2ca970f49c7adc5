# make quickstart   the whole job on a sample sheet            (first time: about 5 min to install; then about 5 min;
#                   up to 12 where other work keeps the machine busy)
# make test         lint, types, import rules, fast tests      (4-9 min on two quiet cores)
# make test-slow    real models, hostile files, many rows      (20-40 min on two quiet cores)
# make test-faults  50 kills of a worker, power cuts, and every other fault (about 25 min)
# make test-full    everything that takes longer, by hand
# make test-gpu     on an NVIDIA GPU: the same gradients, answers and runs as on a CPU (2 min)
# make screenshots  every page, in both languages               (about 15 min; needs Chromium)
# make bench        against the articles' script and TRL       (1-2 hours; benchmarks/README.md)
# make bench-gpu    the same on a GPU
# make load         1000 jobs, 200 clients, 20 streams; how soon the server is ready (3 min)
# make soak         that load and five browsers for an hour: memory may not grow (MINUTES=60; needs Chromium)

PYTHON ?= python3
BIN = $(if $(filter Windows_NT,$(OS)),.venv/Scripts,.venv/bin)
BENCH = $(subst .venv,.venv-bench,$(BIN))
# Nothing is cut short on a person's machine, however slow it is. CI sets LIMIT_SECONDS for each command (.ci/run).
LIMIT = $(if $(LIMIT_SECONDS),timeout $(LIMIT_SECONDS),)
SAY = @printf '\n== %s\n'

KILLS ?= 50
STATES ?= 120
MINUTES ?= 60

.PHONY: quickstart test test-slow test-faults test-full test-gpu screenshots bench bench-gpu load soak lint docs clean

quickstart: .venv/installed
	$(SAY) "The whole job on a sample sheet: about 5 minutes on two cores, up to 12 where other work keeps them busy. Ctrl-C is safe."
	$(LIMIT) $(BIN)/postil quickstart --force --output out/quickstart

test: .venv/ready lint
	$(SAY) "Fast tests: 4-9 minutes on two quiet cores."
	OMP_NUM_THREADS=1 $(LIMIT) $(BIN)/pytest -m "not slow and not full and not gpu" -n 2 --dist loadfile

load: .venv/ready
	$(SAY) "1000 jobs in the queue, 200 clients, 20 event streams: 3 minutes."
	$(BIN)/python benchmarks/load.py ready load

soak: .venv/ready
	$(SAY) "The same load for $(MINUTES) minutes: the server's memory may not grow."
	$(BIN)/python benchmarks/load.py soak --minutes $(MINUTES)

lint: .venv/ready
	$(SAY) "Lint, types, import rules: about a minute."
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test-slow: .venv/ready
	$(SAY) "Slow tests: the real base model, a browser, 200,000 rows, many kills. 20-40 minutes on two quiet cores."
	OMP_NUM_THREADS=1 $(LIMIT) $(BIN)/pytest -m "slow and not full and not gpu" -n 2 --dist loadfile --timeout=1200

test-faults: .venv/ready
	$(SAY) "Faults on purpose: $(KILLS) kills, power cuts, damaged checkpoints, failing disks, killed databases. About 25 minutes."
	POSTIL_FAULT_KILLS=$(KILLS) POSTIL_FAULT_STATES=$(STATES) $(LIMIT) $(BIN)/pytest -s -k test_fault_ tests/jobs tests/store tests/api --timeout=3600

test-full: .venv/ready
	$(SAY) "Everything that takes longer than CI allows; bases in four bits, too (their package stays in .venv)."
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e ".[dev,qlora]"
	$(BIN)/pytest -m full --timeout=7200

test-gpu: .venv/ready
	$(SAY) "The same gradients, answers and runs on this machine's GPU as on its CPU: about two minutes."
	$(BIN)/pytest -m gpu

screenshots: .venv/ready
	$(SAY) "Every page in both languages, wide and narrow, light and dark, into out/screenshots: about 15 minutes."
	$(BIN)/python docs/pictures.py

bench: .venv-bench/ready
	$(SAY) "Every side in turn: 1-2 hours on two cores. One section alone: $(BENCH)/python benchmarks/bench.py titles"
	$(BENCH)/python benchmarks/bench.py

bench-gpu: .venv/installed
	$(BIN)/python benchmarks/gpu.py

# What we are measured against stays out of .venv, but sees the very torch and transformers that are in it.
.venv-bench/ready: .venv/installed benchmarks/requirements.txt
	$(SAY) "Making .venv-bench with TRL, which only the benchmark needs: about a minute."
	$(BIN)/python -m venv .venv-bench
	$(BENCH)/python benchmarks/borrow.py "$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"
	$(BENCH)/python -m pip install -q --disable-pip-version-check -c constraints.txt -r benchmarks/requirements.txt
	@touch $@

# torch first and alone: what needs it must find the pinned build, not fetch another.
.venv/installed: constraints.txt pyproject.toml
	$(SAY) "Making .venv and installing the tested set: 2-5 minutes, about 1 GB (more where the index has GPU builds)."
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Postil needs Python 3.11 or newer")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -q --disable-pip-version-check "$$(grep '^torch==' constraints.txt)"
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e .
	@touch $@

.venv/ready: .venv/installed
	$(SAY) "Installing the tools for the tests: about a minute."
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e ".[dev]"
	@touch $@

# docs/*.md are written by the program itself; a test says when they are out of date
docs: .venv/installed
	$(BIN)/python docs/make.py

clean:
	rm -rf .venv .venv-bench out build *.egg-info
