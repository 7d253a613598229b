#!/usr/bin/env bash
# Brings this checkout to a working state: Debian packages, the Python environment, and environments of their own for tools.
# Every step is skipped when its result is already there, so that `make test` may call this each time.
set -euo pipefail
cd "$(dirname "$0")/.."

# The two PKCS#11 modules of the contract tests, their tools, the PKCS#11 spy and proxy; openssl, ssh-keygen and Go's note and
# tlog packages as independent oracles; a C compiler for the bench's comparison loop and the fault rigs; a cross compiler for
# the demonstration's firmware; a real PostgreSQL for the registry's tests; what draws reports (Pango and a font), and what shows their pages.
readonly DEBIAN_PACKAGES=(
    softhsm2 libnss3 libnss3-tools
    opensc p11-kit p11-kit-modules
    openssl openssh-client
    golang-go golang-golang-x-mod-dev
    gcc libc6-dev
    gcc-arm-none-eabi libnewlib-arm-none-eabi binutils-arm-none-eabi
    postgresql
    libpango-1.0-0 libpangoft2-1.0-0 libharfbuzz-subset0 fonts-dejavu-core poppler-utils
)

say() { printf 'setup: %s\n' "$*"; }
fail() { printf 'setup: %s\n' "$*" >&2; exit 1; }

package_is_installed() { [[ "$(dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null)" == installed ]]; }

# Prints the first interpreter that is new enough and can make environments with pip in them; prints nothing if there is none.
find_python() {
    local candidate
    for candidate in python3.11 python3; do
        if "$candidate" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            command -v "$candidate"
            return
        fi
    done
}

install_debian_packages() {
    local package missing=()
    if ! command -v dpkg-query >/dev/null; then
        say "not a Debian system; these packages' equivalents must be installed: ${DEBIAN_PACKAGES[*]}"
        return
    fi
    for package in "${DEBIAN_PACKAGES[@]}"; do
        package_is_installed "$package" || missing+=("$package")
    done
    [[ -x .venv/bin/python || -n "$(find_python)" ]] || missing+=(python3 python3-venv)
    ((${#missing[@]})) || return 0
    ((EUID == 0)) || fail "these Debian packages are missing; as root, run: apt-get install --no-install-recommends ${missing[*]}"
    say "installing Debian packages: ${missing[*]}"
    export DEBIAN_FRONTEND=noninteractive
    apt-get -qq -o DPkg::Lock::Timeout=300 update || fail "apt-get update failed; check the package sources of this machine, then run make setup again"
    apt-get -qq -o DPkg::Lock::Timeout=300 install -y --no-install-recommends "${missing[@]}" >build/apt.log 2>&1 </dev/null \
        || { tail -n 20 build/apt.log >&2; fail "apt-get install failed; its whole output is in build/apt.log"; }
}

# Arguments: the environment's folder, then the files that decide its contents. True if it was finished from exactly these.
stamp_of() { { pwd; cat -- "$@"; } | sha256sum | cut -d' ' -f1; }
is_current() { [[ -x "$1/bin/python" && "$(cat "$1/.strongroom-stamp" 2>/dev/null)" == "$(stamp_of "${@:2}")" ]]; }

# Arguments: the environment's folder, its hashed lock, which is complete. Only wheels: no package runs code while it is installed.
# The environment is kept when only the lock changed: others may be using it.
make_environment() {
    local python
    python="$(find_python)"
    [[ -n "$python" ]] || fail "no Python 3.11 or newer with the venv module; on Debian run as root: apt-get install python3 python3-venv"
    rm -f "$1/.strongroom-stamp"
    "$1/bin/python" -c 'import sys, pip; sys.exit(sys.prefix != sys.argv[1])' "$PWD/$1" 2>/dev/null || "$python" -m venv --clear "$1"
    "$1/bin/python" -m pip install -qq --disable-pip-version-check --no-input --only-binary :all: --no-deps --require-hashes -r "$2" \
        || fail "could not install $2 into $1; the lines above say why"
}

make_main_environment() {
    is_current .venv requirements-dev.lock pyproject.toml && return
    say "making .venv from requirements-dev.lock (a minute on the first run)"
    make_environment .venv requirements-dev.lock
    .venv/bin/python -m pip install -qq --disable-pip-version-check --no-input --no-deps --no-build-isolation -e .
    stamp_of requirements-dev.lock pyproject.toml >.venv/.strongroom-stamp
}

# Tools that run as programs of their own, each group in an environment apart. Argument: the group's name.
make_tool_environment() {
    local environment=".venv-$1" lock="requirements-$1.lock"
    is_current "$environment" "$lock" && return
    say "making $environment from $lock"
    make_environment "$environment" "$lock"
    stamp_of "$lock" >"$environment/.strongroom-stamp"
}

# Our own modules, compiled ahead: the command's start-up time counts, also where the environment says not to write bytecode.
compile_modules() {
    local room rooms=()
    for room in cli provisioning ceremonies signer policies pki rpc bootloader verifiers; do
        [[ ! -d "$room" ]] || rooms+=("$room")
    done
    [[ ! -e build/compiled || -n "$(find "${rooms[@]}" -name '*.py' -newer build/compiled -print -quit)" ]] || return 0
    touch build/compiled
    # A module that does not compile is reported by what imports it, not here.
    .venv/bin/python -m compileall -qq "${rooms[@]}" || rm -f build/compiled
}

mkdir -p build
exec 9>build/setup.lock
flock 9
install_debian_packages
make_main_environment
make_tool_environment imgtool
make_tool_environment oracles
make_tool_environment clients
compile_modules
