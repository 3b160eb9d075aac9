#!/usr/bin/env bash
# as-root.sh [--if-possible] COMMAND [ARGUMENT...]
# Runs the command as root: directly when we are root, else through sudo. When neither works it says so
# in one line and fails; with --if-possible it runs the command as we are instead.
set -euo pipefail

optional=no
if [[ ${1:-} == --if-possible ]]; then
    optional=yes
    shift
fi

[[ $EUID -ne 0 ]] || exec "$@"

# Without a terminal sudo cannot ask for a password, so it has to work without one.
if command -v sudo >/dev/null && { [[ -t 0 ]] || sudo -n true 2>/dev/null; }; then
    # sudo clears the environment; what our commands read goes through env(1), because sudo's own
    # option for it needs a right that few sudoers files give.
    kept=()
    for name in CI NO_COLOR TERM TORQUE_VM_CACHE PYTEST_ADDOPTS; do
        [[ -z ${!name:-} ]] || kept+=("$name=${!name}")
    done
    exec sudo env "${kept[@]}" "$@"
fi

[[ $optional == yes ]] && exec "$@"

echo "error: ${1##*/} needs root and there is no usable sudo; run make as root" >&2
exit 1
