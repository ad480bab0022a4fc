#!/usr/bin/env bash
# Compiles the kernels for AArch64 with Debian's cross compiler and runs tests of them under an emulator:
# tools/test_aarch64.sh PYTHON PYTEST-ARGUMENTS…. PYTHON has the build requirements. All files are in build/aarch64, and
# existing ones are used again. PyTorch is not installed: tests with it as an oracle are skipped.
set -euo pipefail
cd "$(dirname "$0")/.."
python=$(realpath --no-symlinks "$1")
shift
build=$PWD/build/aarch64

for program in aarch64-linux-gnu-g++ qemu-aarch64-static debootstrap; do
  command -v $program >/dev/null || {
    echo "missing: $program (on Debian: apt install g++-aarch64-linux-gnu qemu-user-static debootstrap)"
    exit 1
  }
done

# Debian for arm64 with Python 3.11, unpacked and not installed: nothing of it runs except Python.
debian=$build/debian
if [[ ! -e $debian/unpacked ]]; then
  [[ $(id -u) == 0 ]] || { echo "missing: the rights of root, which debootstrap needs the first time"; exit 1; }
  rm -rf "$debian"
  mkdir -p "$build"
  debootstrap --foreign --arch=arm64 --variant=minbase --include=python3,libpython3.11-dev bookworm "$debian"
  for package in "$debian"/var/cache/apt/archives/*.deb; do dpkg-deb --extract "$package" "$debian"; done
  touch "$debian/unpacked"
fi

# This script is the Python of the emulator. Python starts its children with it, as sys.executable.
cat >"$build/python" <<END
#!/bin/sh
exec qemu-aarch64-static -L "$debian" -0 "\$0" -E PYTHONHOME="$debian/usr" "$debian/usr/bin/python3.11" "\$@"
END
chmod +x "$build/python"

# Install the requirements of the package and its tests from wheels for arm64.
packages=$build/packages
if [[ pyproject.toml -nt $packages ]]; then
  rm -rf "$packages"
  "$python" - <<'END' >"$build/requirements.txt"
import tomllib
project = tomllib.load(open("pyproject.toml", "rb"))["project"]
used = ("hypothesis", "mpmath", "pytest>", "pytest-timeout")
test = [r for r in project["optional-dependencies"]["test"] if r.startswith(used)]
print(*project["dependencies"], *test, sep="\n")
END
  "$python" -m pip install --quiet --target "$packages" --only-binary=:all: --implementation cp --python-version 3.11 \
    --platform manylinux_2_17_aarch64 --platform manylinux_2_27_aarch64 --platform manylinux_2_28_aarch64 \
    --requirement "$build/requirements.txt"
fi

# The package, with kernels that are compiled with warnings as errors.
package=$build/package
cmake -S . -B "$build/kernels" -G Ninja -DCMAKE_TOOLCHAIN_FILE=cmake/aarch64.cmake -DCMAKE_BUILD_TYPE=Release \
  -DZEROLOSS_WERROR=ON -DCMAKE_CXX_FLAGS="-idirafter $debian/usr/include" -DPython_EXECUTABLE="$python" \
  -DPython_INCLUDE_DIR="$debian/usr/include/python3.11" -DPYTHON_MODULE_EXTENSION=.cpython-311-aarch64-linux-gnu.so \
  -DPYTHON_MODULE_DEBUG_POSTFIX= -DPYTHON_IS_DEBUG=0
cmake --build "$build/kernels"
rm -rf "$package"
cmake --install "$build/kernels" --prefix "$package"
cp -r python/zeroloss "$package"
find "$package" -name '*x86_64*' -delete
mkdir "$package/zeroloss.dist-info"
sed -n 's/^version = "\(.*\)"/Metadata-Version: 2.1\nName: zeroloss\nVersion: \1/p' pyproject.toml \
  >"$package/zeroloss.dist-info/METADATA"

PYTHONPATH=$package:$packages PYTHONDONTWRITEBYTECODE=1 "$build/python" -m pytest -p no:cacheprovider --timeout=0 "$@"
