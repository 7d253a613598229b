#!/usr/bin/env bash
# Every static check, all of them even after one has failed, so that one run shows everything there is to mend.
set -uo pipefail
cd "$(dirname "$0")/.."
readonly bin=.venv/bin
failed=()

step() {
    local name="$1"
    shift
    printf '== %s\n' "$name"
    "$@" || failed+=("$name")
}

folders=()
for folder in cli provisioning ceremonies signer policies pki rpc bootloader verifiers bench demo tools tests; do
    [[ -z "$(find "$folder" -name '*.py' -print -quit 2>/dev/null)" ]] || folders+=("$folder")
done

step "ruff check" "$bin/ruff" check --quiet .
step "ruff format" "$bin/ruff" format --quiet --check .
step "mypy --strict" "$bin/mypy" --strict "${folders[@]}"
step "import-linter" "$bin/lint-imports" --no-logo
step "locks" "$bin/python" -m tools.check_locks
step "texts" "$bin/python" -m tools.check_text

if ((${#failed[@]})); then
    printf 'check: failed:'
    printf ' [%s]' "${failed[@]}"
    printf '\n'
    exit 1
fi
echo "check: all passed"
