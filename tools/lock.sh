#!/usr/bin/env bash
# Resolves the locks again: exact versions and hashes, no addresses. The run-time lock takes its versions from the larger
# development lock, so that what is tested is what ships.
set -euo pipefail
cd "$(dirname "$0")/.."
readonly UV_VERSION=0.9.30
readonly environment=build/venv-uv

if [[ "$("$environment/bin/uv" --version 2>/dev/null)" != "uv $UV_VERSION"* ]]; then
    echo "lock: installing uv $UV_VERSION into $environment"
    .venv/bin/python -m venv --clear "$environment"
    "$environment/bin/python" -m pip install -qq --disable-pip-version-check --only-binary :all: "uv==$UV_VERSION"
fi

# Arguments: the lock to write, then what to resolve. An existing lock's versions are kept unless UPGRADE=1.
resolve() {
    local lock="$1"
    shift
    echo "lock: $lock"
    "$environment/bin/uv" pip compile --quiet ${UPGRADE:+--upgrade} --python-version 3.11 --generate-hashes --no-emit-index-url \
        --no-header --no-annotate --output-file "$lock" "$@"
}

resolve requirements-dev.lock pyproject.toml --group dev
resolve requirements.lock pyproject.toml --constraints requirements-dev.lock
resolve requirements-imgtool.lock --group imgtool
resolve requirements-oracles.lock --group oracles
# crcmod has no wheel; crcmod-plus, which the group names, is the same module (docs/adr/0079).
resolve requirements-clients.lock --group clients --overrides <(echo "crcmod; python_version < '3'")
