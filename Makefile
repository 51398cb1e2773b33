# Every target explains itself: `make help`. CI runs `make test` and nothing else.

PYTHON3 ?= python3
VENV := .venv
BIN := $(VENV)/bin
PYTHON := $(BIN)/python
PYTEST := $(BIN)/pytest
CARGO ?= cargo

# One interpreter for every build: another one would make Cargo compile PyO3 again. Its name has the
# version, since Cargo compares names: PyO3 built for one version must not serve another.
export PYO3_PYTHON = $(shell ls $(CURDIR)/$(BIN)/python3.[0-9]* 2>/dev/null)
# The wheel is built from an unpacked sdist elsewhere; its dependencies stay compiled here.
export CARGO_TARGET_DIR ?= $(CURDIR)/target

RUST_SOURCES := Cargo.toml Cargo.lock $(shell find core -name '*.rs' -o -name Cargo.toml)
PACKAGED := pyproject.toml MANIFEST.in README.md LICENSE $(RUST_SOURCES) \
	$(shell find vasmem backends -name '*.py' -o -name '*.pyi' -o -name py.typed)
TESTED_CRATES := --workspace --exclude vasmem-py --exclude vasmem-floor
SHIPPED_CRATES := --workspace --exclude vasmem-lab
LOOM_CRATES := --package vasmem-engine --package vasmem-memory
FUZZ := $(CARGO) run --locked --profile fuzz --package vasmem-lab --bin fuzz --
FUZZ_SECONDS ?= 86400
FUZZ_COUNT ?= 10000000
FUZZ_SEED ?= $(shell date +%s)000
FUZZ_LIMITS = --seconds $(FUZZ_SECONDS) --count $(FUZZ_COUNT) --seed $(FUZZ_SEED) \
	--workers $(shell nproc)
LAB := $(CARGO) run --locked --profile fuzz --package vasmem-lab --bin crash --

.DEFAULT_GOAL := help
.PHONY: help venv install dev demo test lint lint-python lint-rust rust loom mutations \
	lab fuzz-smoke fuzz python kmod guest-test kills bench clean

help: ## Say what each target does
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

venv: $(VENV)/.created ## Set up the virtual environment in .venv

$(VENV)/.created:
	$(PYTHON3) -m venv $(VENV)
	$(BIN)/pip install --quiet build 'setuptools>=77' 'setuptools-rust>=1.12'
	touch $@

install: $(VENV)/.installed ## Build the wheel (release mode, through the sdist) and install it in .venv

# Through the sdist, so that what runs here is what ships. A wheel of an older build must not linger.
$(VENV)/.installed: $(VENV)/.created $(PACKAGED)
	rm -rf dist build
	$(PYTHON) -m build --no-isolation --outdir dist .
	$(BIN)/pip install --quiet --force-reinstall --no-deps dist/*.whl
	$(BIN)/pip install --quiet vasmem
	touch $@

$(VENV)/.tools: $(VENV)/.installed
	$(BIN)/pip install --quiet 'vasmem[dev,bench]'
	touch $@

dev: $(VENV)/.created ## Install editable instead: Python changes are seen at once
	$(BIN)/pip install --no-build-isolation --editable '.[dev,bench]'
	rm -f $(VENV)/.installed $(VENV)/.tools

demo: install ## The main job: two unrelated programs share a map by name, and one is killed
	$(PYTHON) examples/demo.py

test: lint rust loom mutations lab fuzz-smoke python guest-test ## Set up and run everything that CI runs

lint: lint-python lint-rust ## ruff, mypy, stubtest, clippy and rustfmt, warnings denied

# Types are checked as installed, from another folder, since mypy does not follow the package map.
lint-python: $(VENV)/.tools
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	cd $(VENV) && bin/mypy --config-file ../pyproject.toml -p vasmem
	cd $(VENV) && bin/python -m mypy.stubtest --mypy-config-file ../pyproject.toml vasmem._core vasmem.bench._floor

lint-rust: $(VENV)/.created
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked $(SHIPPED_CRATES) --all-targets -- -D warnings
	$(CARGO) clippy --locked --workspace --all-targets --features lab -- -D warnings
	RUSTFLAGS='--cfg loom' $(CARGO) clippy --locked $(LOOM_CRATES) --features lab --tests \
		--target-dir $(CARGO_TARGET_DIR)/loom -- -D warnings

rust: ## Rust unit and property tests, failpoints included
	@echo '== rust'
	$(CARGO) test --locked --no-fail-fast $(TESTED_CRATES) --features lab

loom: ## Loom models of the commit protocol
	@echo '== loom'
	RUSTFLAGS='--cfg loom' $(CARGO) test --locked --no-fail-fast $(LOOM_CRATES) --features lab \
		--target-dir $(CARGO_TARGET_DIR)/loom --test loom

mutations: ## Every seeded defect of the protocol must be noticed by a test; prints the table
	@echo '== mutations'
	$(CARGO) run --locked --package vasmem-lab -- mutations

# The time is a limit for slow machines, the counts are ones for slow code: it ends when it has them.
lab: ## Five million states that power failures may leave; each flush left out, each crash defect found
	@echo '== lab'
	$(LAB) run --seconds 480 --least 5000000 --second 500000 --seed 1 \
		--threads $(shell nproc)
	$(LAB) persists --threads $(shell nproc)
	$(LAB) defects --threads $(shell nproc)

fuzz-smoke: ## Use mutated segments and redo records for a minute each
	@echo '== fuzz'
	$(FUZZ) segments --seconds 60 --workers 2
	$(FUZZ) records --seconds 60 --workers 2

# Both limits hold; each run begins at a seed of its own.
fuzz: ## The same for long: FUZZ_SECONDS a target, FUZZ_COUNT inputs, FUZZ_SEED the first seed
	$(FUZZ) segments $(FUZZ_LIMITS)
	$(FUZZ) records $(FUZZ_LIMITS)

python: $(VENV)/.tools ## Python tests, the built wheel and sdist, and the examples
	@echo '== python'
	VASMEM_DIST=dist $(PYTEST) --ignore tests/guest

# The release is that of the headers that are installed, where the running kernel has none.
KMOD := backends/vas/kmod
HEADERS = $(notdir $(patsubst %/build,%,$(lastword $(wildcard /lib/modules/*/build))))
RELEASE ?= $(or $(patsubst /lib/modules/%/build,%,$(wildcard /lib/modules/$(shell uname -r)/build)),$(HEADERS))

kmod: ## Build the kernel module of vas://, checked by sparse where that is installed
	@test -n '$(RELEASE)' || { echo 'no kernel headers: apt-get install linux-headers-amd64'; exit 1; }
	$(MAKE) -C $(KMOD) RELEASE=$(RELEASE) $(if $(shell command -v sparse),check,modules)

guest-test: $(VENV)/.tools kmod ## Real DAX in an emulated computer, and its power fails; needs qemu
	@echo '== guest'
	$(PYTEST) tests/guest

kills: $(VENV)/.tools ## 500 random SIGKILLs of writers of each structure, alone and with others
	VASMEM_KILLS=500 $(PYTEST) -k killed_at_random -o timeout=3000

# Run as a module of the checkout, which then must hold the extension: hence the editable install.
bench: dev ## Measure all that benchmarks/README.md explains; takes long, wants a quiet machine
	@echo '== Ratios to py-lmdb and to the unsynchronised floor, and what flushes cost'
	$(PYTHON) -m benchmarks.paired
	@echo '== YCSB A, B and C'
	$(PYTHON) -m benchmarks.ycsb
	@echo '== Two readers, and a reader beside a writer'
	$(PYTHON) -m benchmarks.together
	@echo '== Huge pages'
	$(PYTHON) -m benchmarks.huge
	@echo '== A transaction of four keys in two structures, beside that of py-lmdb'
	$(PYTHON) -m benchmarks.transactions
	@echo '== Batches of a typed map, beside a gather by numpy'
	$(PYTHON) -m benchmarks.typed
	@echo '== The same operations by pytest-benchmark'
	$(PYTEST) benchmarks -o python_files='bench_*.py' -o timeout=0
	@echo '== Whether readers wait for a writer that is stopped or killed'
	$(PYTHON) -m benchmarks.readers
	@echo '== How long writers wait for one that is killed with locks, by the memory it had touched'
	$(CARGO) run --locked --release --package vasmem-lab --bin latency -- \
		--json benchmarks/results/latency.json
	$(PYTHON) -m benchmarks.plot_latency benchmarks/results/latency.json
	@echo '== Lines, fences, cost and recovery on persistent memory'
	$(PYTHON) -m benchmarks.flushes
	@echo '== What the recording tap costs while nothing records'
	$(PYTHON) -m benchmarks.tap
	@echo '== Attach, space, import'
	$(PYTHON) -m benchmarks.attach
	$(PYTHON) -m benchmarks.array
	$(PYTHON) -m benchmarks.space
	$(PYTHON) -m benchmarks.startup
	@echo '== VASes: switching, making, attaching; clients that switch in, beside Redis'
	$(PYTHON) -m benchmarks.vas
	$(PYTHON) -m benchmarks.guard
	$(PYTHON) -m benchmarks.clients
	@echo '== Pictures; the table for the README is made by: $(PYTHON) -m benchmarks.speed_table'
	$(PYTHON) -m benchmarks.plots

clean: ## Remove everything that was built
	rm -rf $(VENV) build dist target *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
