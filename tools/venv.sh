#!/usr/bin/env bash
# venv.sh DIRECTORY
# Makes or refreshes the virtual environment: the versions of requirements/*.txt, and this checkout
# installed editable. PYTHON=/path/to/python chooses the interpreter; it has to be 3.11 or newer.
set -euo pipefail
cd "$(dirname "$0")/.."
venv=$1

fail() {
    echo "error: $*" >&2
    exit 1
}

usable() { "$1" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }

find_python() {
    local candidate
    if [[ -n ${PYTHON:-} ]]; then
        usable "$PYTHON" || fail "PYTHON=$PYTHON is no Python 3.11 or newer with the modules venv and ensurepip"
        echo "$PYTHON"
        return
    fi
    for candidate in python3 python3.13 python3.12 python3.11 /usr/bin/python3; do
        if usable "$candidate"; then
            echo "$candidate"
            return
        fi
    done
    fail "no Python 3.11 or newer (with the modules venv and ensurepip) found; install one or set PYTHON=/path/to/it"
}

pip() {
    "$venv/bin/python" -m pip --disable-pip-version-check --quiet --quiet install "$@" ||
        fail "pip could not install the Python packages; its message stands above"
}

if ! usable "$venv/bin/python"; then
    python=$(find_python)
    echo "making $venv with $("$python" --version)"
    rm -rf -- "$venv"
    "$python" -m venv "$venv" || fail "$python could not make the virtual environment $venv"
fi

echo "installing the pinned Python packages in $venv"
# Build isolation would fetch unpinned build tools, so the pinned ones go first.
pip -r requirements/build.txt
pip --no-build-isolation -r requirements/node.txt -r requirements/dev.txt
pip --no-build-isolation --no-deps --editable .
"$venv/bin/python" -m pip check >/dev/null || fail "the pinned versions contradict pyproject.toml; see: $venv/bin/python -m pip check"
