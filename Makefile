# make demo: build, install and draw figure 6.   make test: the same and all tests.   Both make .venv where missing.
# make sanitize: the kernels' tests on builds with sanitizers.   make lint, make bench, make bench-compare: what they say.
# make wheel: the wheel and the source distribution, into dist/.
PYTHON ?= python3
CXX ?= c++
WERROR ?= OFF
VENV := .venv
BIN := $(VENV)/bin
SOURCES := pyproject.toml CMakeLists.txt NOTICE LICENSE README.md $(shell find csrc python -type f -not -name '*.pyc')

# The requirements of an extra, without the package.
extra = $$($(BIN)/python -c "import tomllib; print(*tomllib.load(open('pyproject.toml', 'rb'))['project']['optional-dependencies']['$1'])")

CHECKED := build/checked
.PHONY: demo test sanitize bench bench-compare lint format wheel clean

demo: $(VENV)/installed
	$(BIN)/zeroloss reproduce 6 --out out

test: $(VENV)/installed-test
	$(BIN)/python -m pytest

# The addresses are those of this machine's widest level, and of base too beside v4, whose tiles are others.
# Python's own allocations are not freed at exit; PyTorch's and NumPy's threads are not what is looked at. The last
# places of gelu need fused multiply-adds, which these builds do not make.
sanitize: $(CHECKED)-address/installed $(CHECKED)-thread/installed $(VENV)/installed-test
	PYTHONPATH=$(CHECKED)-address LD_PRELOAD=$$($(CXX) -print-file-name=libasan.so) ASAN_OPTIONS=detect_leaks=0 \
	  $(BIN)/python -m pytest tests/test_loss_and_gradient.py tests/test_gradient_descent.py \
	  tests/test_cross_entropy_and_adamw.py tests/test_predicted_gradient.py tests/test_geometry.py \
	  tests/test_alignment.py tests/test_activations.py tests/test_threads_and_memory.py -k "not last_places"
	PYTHONPATH=$(CHECKED)-thread LD_PRELOAD=$$($(CXX) -print-file-name=libtsan.so) TSAN_OPTIONS=halt_on_error=1 \
	  $(BIN)/python tests/under_thread_sanitizer.py

bench: $(VENV)/installed-bench
	$(BIN)/python bench/rivals.py

bench-compare: $(VENV)/installed-bench
	$(BIN)/python -m pytest bench --benchmark-autosave --benchmark-compare

lint: $(VENV)/installed-lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy python/zeroloss
	$(BIN)/mypy --platform win32 --cache-dir .mypy_cache/win32 python/zeroloss  # no name that POSIX alone has, unguarded
	$(BIN)/clang-format --dry-run --Werror $(shell find csrc -name '*.?pp')

format: $(VENV)/installed-lint
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/clang-format -i $(shell find csrc -name '*.?pp')

# The wheel and the source distribution for other machines, into dist/. The wheel is built from the source distribution,
# holds every instruction-set level, and is tried in an environment of its own in which no compiler can be found.
WHEEL := build/wheel
wheel: $(VENV)/made
	@test "$$(uname)" = Linux || { echo "missing: Linux, which auditwheel needs (elsewhere: pip install cibuildwheel, then cibuildwheel)"; exit 1; }
	@command -v $(CXX) >/dev/null || { echo "missing: a C++20 compiler (on Debian: apt install g++)"; exit 1; }
	$(BIN)/python -m pip install --quiet $(call extra,wheel)
	rm -rf $(WHEEL)
	$(BIN)/python -m build --outdir $(WHEEL)/built --config-setting=cmake.define.ZEROLOSS_LEVELS=all .
	PATH="$(abspath $(BIN)):$$PATH" auditwheel repair --wheel-dir $(WHEEL)/repaired $(WHEEL)/built/*.whl
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

$(VENV)/installed: $(VENV)/made $(SOURCES)
	@command -v $(CXX) >/dev/null || { echo "missing: a C++20 compiler (on Debian: apt install g++)"; exit 1; }
	$(BIN)/python -m pip install --quiet --config-settings=cmake.define.ZEROLOSS_WERROR=$(WERROR) .
	@touch $@

$(CHECKED)-address/installed: $(VENV)/installed
$(CHECKED)-address/installed: WIDEST = $(shell $(BIN)/python -c "import zeroloss; print(zeroloss.build_info()['level'])")
$(CHECKED)-address/installed: CHECKS = ZEROLOSS_SANITIZE=address,undefined ZEROLOSS_LEVELS=$(subst v4,base;v4,$(WIDEST))
$(CHECKED)-thread/installed: CHECKS = ZEROLOSS_SANITIZE=thread ZEROLOSS_LEVELS=base
$(CHECKED)-%/installed: $(VENV)/made $(SOURCES)
	rm -rf $(@D)
	$(BIN)/python -m pip install --quiet --no-deps --target $(@D) $(CHECKS:%='--config-settings=cmake.define.%') .
	@touch $@

$(VENV)/installed-%: $(VENV)/installed
	$(BIN)/python -m pip install --quiet $(call extra,$*)
	@touch $@
