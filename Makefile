# make demo          installs the package in .venv with the kernels of this machine, and draws figure 6 to out/
# make test          installs the package with all kernels, and runs all tests
# make test-pythons  runs the tests that need no PyTorch on each installed Python from 3.11 to 3.13
# make dev           makes an editable installation; repeat it after a change of C++ (pytest does so by itself)
# make lint          checks formatting, types, spelling and docstrings of the installed package; installs nothing
# make tidy          runs clang-tidy on the kernels
# make sanitize      runs the kernel tests with AddressSanitizer and UndefinedBehaviorSanitizer, then ThreadSanitizer
# make test-clang    runs the kernel tests on a build with Clang
# make test-aarch64  runs the kernel tests for AArch64, cross-compiled and emulated
# make bench         compares the kernels with JAX, PyTorch and NumPy
# make docs          builds the site in build/docs; warnings are errors, cells are run, internal links are checked
# make notebooks     writes the pages with code as notebooks to examples/notebooks
# make wheel         builds the wheel and the source distribution in dist/
# CONTRIBUTING.md describes the other targets. VENV=DIR uses another virtual environment than .venv.
PYTHON ?= python3
CXX ?= c++
WERROR ?= OFF
VENV ?= .venv
PRESET ?= dev
BIN := $(VENV)/bin
export PATH := $(abspath $(BIN)):$(PATH)

CONFIGURATION := pyproject.toml CMakeLists.txt CMakePresets.json $(wildcard cmake/*.cmake)
SOURCES := $(CONFIGURATION) $(shell find csrc python -type f -not -name '*.pyc' -not -name '*.so')
CPP_FILES = $(shell find csrc -name '*.?pp')
INSTALL := $(BIN)/python -m pip install --quiet

.PHONY: demo test test-pythons dev tools lint format tidy sanitize test-clang need-clang test-aarch64 bench bench-compare docs notebooks wheel clean

demo: $(VENV)/installed
	$(BIN)/zeroloss reproduce 6 --out out

test: $(VENV)/installed-all $(VENV)/tools-test
	$(BIN)/python -m pytest -n 2 --dist worksteal --durations=15

# Runs the tests that need no PyTorch on every supported Python that is installed. PYTHONS="3.12 3.13" selects some.
test-pythons: $(VENV)/made
	$(BIN)/python tools/pythons.py $(PYTHONS)

# Compiles the changed files for the level of this machine. PRESET is a preset of CMakePresets.json, for example debug.
dev: $(VENV)/editable-$(PRESET) $(VENV)/tools-test $(VENV)/tools-lint
	@$(BIN)/python tools/rebuild.py

tools: $(VENV)/tools-lint

lint: need-lint-tools need-package
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy python/zeroloss
	$(BIN)/mypy --platform win32 --cache-dir .mypy_cache/win32 python/zeroloss  # finds names that exist only on POSIX systems
	$(BIN)/clang-format --dry-run --Werror $(CPP_FILES)
	$(BIN)/codespell
	$(BIN)/python tools/check_docstrings.py

format: need-lint-tools
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/clang-format -i $(CPP_FILES)

tidy: need-lint-tools $(VENV)/build-tools
	cmake --preset dev -B build/tidy >/dev/null
	sed -n 's/.*"file": "\(.*\)".*/\1/p' build/tidy/compile_commands.json | xargs -P 2 -n 1 $(BIN)/clang-tidy --quiet -p build/tidy --warnings-as-errors='*'

.PHONY: need-lint-tools need-package
need-lint-tools:
	@test -x $(BIN)/ruff -a -x $(BIN)/mypy -a -x $(BIN)/clang-format -a -x $(BIN)/codespell -a -x $(BIN)/numpydoc || { echo "missing: ruff, mypy, clang-format, codespell or numpydoc in $(VENV) (run make dev or make tools)"; exit 1; }

need-package:
	@$(BIN)/python -c "import zeroloss" || { echo "missing: zeroloss in $(VENV) (run make dev)"; exit 1; }

# AddressSanitizer runs on the widest level of this machine. If that is v4, it also runs on base, whose tiles differ.
# Python's own allocations are not freed at exit, so leaks are not reported. The threads of PyTorch and NumPy are not
# instrumented, so ThreadSanitizer runs a script of its own. The last digits of gelu need fused multiply-adds, which
# these builds do not make. The flows on several threads take minutes here; ThreadSanitizer's script runs short ones. Both
# targets need a regular installation: an editable one comes before PYTHONPATH.
CHECKED := build/checked
KERNEL_TESTS := $(patsubst %,tests/test_%.py,loss_and_gradient gradient_descent descent_state cross_entropy_and_adamw \
  gradient_flow noise_flow network_outputs predicted_gradient geometry alignment curvature activations \
  threads_and_memory output_biases norm_flow_layers)
sanitize: $(VENV)/installed $(CHECKED)-address/installed $(CHECKED)-thread/installed $(VENV)/tools-test
	PYTHONPATH=$(CHECKED)-address ASAN_OPTIONS=detect_leaks=0 \
	  LD_PRELOAD="$$($(CXX) -print-file-name=libasan.so) $$($(CXX) -print-file-name=libstdc++.so)" \
	  $(BIN)/python -m pytest -n 2 $(KERNEL_TESTS) -k "not last_places and not bits_of_norm_flows and not bits_of_the_geometry \
	  and not with_label_noise_follows"
	PYTHONPATH=$(CHECKED)-thread LD_PRELOAD=$$($(CXX) -print-file-name=libtsan.so) TSAN_OPTIONS=halt_on_error=1 \
	  $(BIN)/python tests/under_thread_sanitizer.py

# Uses the widest level of this machine.
test-clang: need-clang $(VENV)/installed $(CHECKED)-clang/installed $(VENV)/tools-test
	PYTHONPATH=$(CHECKED)-clang $(BIN)/python -c "import zeroloss as zl; assert 'Clang' in zl.build_info()['compiler']"
	PYTHONPATH=$(CHECKED)-clang $(BIN)/python -m pytest -n 2 $(KERNEL_TESTS) tests/test_norm_constraint.py tests/test_proximal.py

need-clang:
	@command -v clang++-19 >/dev/null || { echo "missing: clang++-19 (on Debian: apt install clang-19)"; exit 1; }

# Needs Debian's cross compiler, emulator and debootstrap. debootstrap needs root rights, once. A step takes 160 to 400
# times as long under the emulator, so tests of long runs are excluded by name.
AARCH64_TESTS := $(patsubst %,tests/test_%.py,loss_and_gradient activations gradient_descent norm_constraint \
  predicted_gradient cross_entropy_and_adamw)
AARCH64_SLOW := rounding_unit or grokking or finer_precision or divergence_is or 200_steps or extending_and_threads or \
  compensation_includes or fixed_norm or slow_time
test-aarch64: $(VENV)/build-tools
	tools/test_aarch64.sh $(BIN)/python $(AARCH64_TESTS) -k "not ($(AARCH64_SLOW))"

bench: $(VENV)/installed $(VENV)/tools-bench
	$(BIN)/python bench/baselines.py

bench-compare: $(VENV)/installed $(VENV)/tools-bench
	$(BIN)/python -m pytest bench --benchmark-autosave --benchmark-compare

# Uses the editable installation if there is one. Every warning is an error, and so is an unresolved name.
SITE := build/docs
docs: $(or $(firstword $(wildcard $(VENV)/editable-*)),$(VENV)/installed) $(VENV)/tools-docs
	rm -rf $(SITE) docs/reference/generated
	$(BIN)/python -m sphinx --quiet --fail-on-warning --keep-going --nitpicky --jobs 2 -d build/docs-doctrees docs $(SITE)
	$(BIN)/python tools/check_site.py $(SITE)

notebooks: $(VENV)/made
	$(BIN)/python tools/notebooks.py

# The wheel is built from the source distribution and has every level. It is tested in a fresh environment without a
# compiler.
WHEEL := build/wheel
wheel: $(VENV)/build-tools $(VENV)/tools-wheel
	@test "$$(uname)" = Linux || { echo "missing: Linux, which auditwheel needs (elsewhere: pip install cibuildwheel, then cibuildwheel)"; exit 1; }
	rm -rf $(WHEEL)
	$(BIN)/python -m build --outdir $(WHEEL)/built --config-setting=cmake.define.ZEROLOSS_LEVELS=all .
	auditwheel repair --wheel-dir $(WHEEL)/repaired $(WHEEL)/built/*.whl
	$(BIN)/python -m venv $(WHEEL)/fresh
	PATH=$(abspath $(WHEEL)/fresh/bin) python -m pip install --quiet --only-binary=:all: $(WHEEL)/repaired/*.whl
	env -i PATH=$(abspath $(WHEEL)/fresh/bin) python tests/smoke.py
	mkdir -p dist
	cp $(WHEEL)/built/*.tar.gz $(WHEEL)/repaired/*.whl dist
	@ls -l dist

clean:
	rm -rf $(VENV) build dist

$(VENV)/made:
	@command -v $(PYTHON) >/dev/null || { echo "missing: Python 3.11 or newer (set PYTHON=…)"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "missing: Python 3.11 or newer, found $$($(PYTHON) -V)"; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { echo "missing: Python's venv module (on Debian: apt install python3-venv)"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

# The tools that compile the package. They stay installed, so a second build compiles only changed files.
$(VENV)/build-tools: $(VENV)/made pyproject.toml
	@command -v $(CXX) >/dev/null || { echo "missing: a C++20 compiler (on Debian: apt install g++)"; exit 1; }
	$(INSTALL) $$($(BIN)/python tools/requirements.py build)
	@touch $@

# There are three kinds of installation: regular with the level of this machine, regular with all levels, and editable.
# Each replaces the others.
PACKAGE = --no-build-isolation --config-settings=build-dir=build/$(1)
DEFINE = --config-settings=cmake.define.

$(VENV)/installed: $(VENV)/build-tools $(SOURCES)
	@echo "Compiling the kernels of this machine, which takes a minute or two."
	$(INSTALL) $(call PACKAGE,release) $(DEFINE)ZEROLOSS_LEVELS=native $(DEFINE)ZEROLOSS_WERROR=$(WERROR) .
	@rm -f $(VENV)/installed-all $(VENV)/editable-*
	@touch $@

$(VENV)/installed-all: $(VENV)/build-tools $(SOURCES)
	@echo "Compiling the kernels of every level, which takes a few minutes the first time."
	$(INSTALL) $(call PACKAGE,release) $(DEFINE)ZEROLOSS_LEVELS=all $(DEFINE)ZEROLOSS_WERROR=$(WERROR) .
	@rm -f $(VENV)/editable-*
	@touch $@ $(VENV)/installed

$(VENV)/editable-$(PRESET): $(VENV)/build-tools $(CONFIGURATION)
	$(INSTALL) $(call PACKAGE,$(PRESET)) --config-settings=cmake.args=--preset=$(PRESET) \
	  --config-settings=cmake.build-type= --config-settings=editable.verbose=false --editable .
	@rm -f $(VENV)/installed $(VENV)/installed-all $(VENV)/editable-*
	@touch $@

$(CHECKED)-address/installed: $(VENV)/build-tools
$(CHECKED)-address/installed: LEVELS = $(subst v4,base;v4,$(shell $(CXX) -std=c++20 csrc/print_levels.cpp -o build/print_levels && build/print_levels | sed 's/.*;//'))
$(CHECKED)-thread/installed: LEVELS = base
$(CHECKED)-clang/installed: LEVELS = native
$(CHECKED)-%/installed: $(VENV)/build-tools $(SOURCES)
	rm -rf $(@D)
	mkdir -p build
	$(INSTALL) $(call PACKAGE,$*) --config-settings=cmake.args=--preset=$* --config-settings=cmake.build-type= \
	  '$(DEFINE)ZEROLOSS_LEVELS=$(LEVELS)' --no-deps --target $(@D) .
	@touch $@

# The requirements of an extra of pyproject.toml.
$(VENV)/tools-%: $(VENV)/made pyproject.toml
	$(INSTALL) $$($(BIN)/python tools/requirements.py $*)
	@touch $@
