#!/usr/bin/env bash
# Installs the Debian or Ubuntu packages that building and testing need, and those named as
# arguments; does nothing where all are there. DUALPATH_NO_INSTALL=1 skips it: for machines
# where modules or a prefix provide the libraries.
set -euo pipefail

packages=(
  cmake ninja-build g++ pkg-config
  libopenmpi-dev openmpi-bin
  libdnnl-dev ocl-icd-opencl-dev  # the CMake files of the first look for the second
  libhdf5-dev libyaml-cpp-dev nlohmann-json3-dev libfmt-dev
  libxxhash-dev zlib1g-dev libzstd-dev libutf8proc-dev
  libgtest-dev libgmock-dev
  gnuplot-nox  # the pictures of `dualpath sweep report`
)

if [[ ${DUALPATH_NO_INSTALL:-} == 1 ]]; then exit 0; fi

is_installed() {
  [[ $(dpkg-query --show --showformat='${db:Status-Status}' "$1" 2>/dev/null) == installed ]]
}

missing=()
for package in "${packages[@]}" "$@"; do
  is_installed "$package" || missing+=("$package")
done
if ((${#missing[@]} == 0)); then exit 0; fi

if [[ $(id -u) == 0 ]]; then
  as_root=(env)
elif command -v sudo >/dev/null; then
  as_root=(sudo env)
else
  as_root=()
fi
if ((${#as_root[@]} == 0)) || ! command -v apt-get >/dev/null; then
  cat >&2 <<MESSAGE
Missing packages: ${missing[*]}
They cannot be installed here: that takes apt-get, and root or sudo. Either have somebody run
    apt-get install ${missing[*]}
or provide the libraries another way (environment modules, a prefix in CMAKE_PREFIX_PATH) and
run this again with DUALPATH_NO_INSTALL=1.
MESSAGE
  exit 1
fi

echo "Installing ${missing[*]}"
"${as_root[@]}" DEBIAN_FRONTEND=noninteractive apt-get update -qq
"${as_root[@]}" DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
  "${missing[@]}"
