#!/usr/bin/env bash
# packages.sh [--if-possible] LIST...
# Installs what is missing of the Debian packages in requirements/debian-LIST.txt. Where that cannot be
# done it fails with one line; with --if-possible the line is a note and the exit code 0.
# PACKAGES=no in the environment skips all of it, for machines that are provided for by other means.
set -euo pipefail
cd "$(dirname "$0")/.."

optional=no
if [[ ${1:-} == --if-possible ]]; then
    optional=yes
    shift
fi
[[ ${PACKAGES:-yes} != no ]] || exit 0

give_up() {
    if [[ $optional == yes ]]; then
        echo "note: $1; tests that need them will be skipped" >&2
        exit 0
    fi
    echo "error: $1; $2" >&2
    exit 1
}

wanted=()
for list in "$@"; do
    while read -r name _; do
        [[ -z $name || $name == '#'* ]] || wanted+=("$name")
    done <"requirements/debian-$list.txt"
done

command -v dpkg-query >/dev/null && command -v apt-get >/dev/null ||
    give_up "this is no Debian: apt-get not found, so these cannot be installed: ${wanted[*]}" \
        "install them by other means and set PACKAGES=no"

# dpkg-query exits 1 when it does not know a name: then the name is simply not in its output.
installed=$(dpkg-query --show --showformat='${db:Status-Status} ${Package}\n' "${wanted[@]}" 2>/dev/null || true)
missing=()
for name in "${wanted[@]}"; do
    grep -qx "installed $name" <<<"$installed" || missing+=("$name")
done
# Guest images are built from what apt's lists describe: without lists they cannot be.
lists=$(find /var/lib/apt/lists -name '*_Packages*' -print -quit 2>/dev/null || true)
[[ ${#missing[@]} -gt 0 || (-z $lists && $* == *lab*) ]] || exit 0

tools/as-root.sh true 2>/dev/null ||
    give_up "Debian packages are missing and only root can install them: ${missing[*]:-(apt's lists)}" "run make as root or install sudo"

echo "installing Debian packages: ${missing[*]:-none, only apt's lists are missing}"
apt() { tools/as-root.sh env DEBIAN_FRONTEND=noninteractive DEBCONF_NOWARNINGS=yes apt-get -qq -o DPkg::Lock::Timeout=300 "$@" >/dev/null; }
apt update || give_up "apt-get update failed" "see its message above"
[[ ${#missing[@]} -eq 0 ]] || apt install -y --no-install-recommends "${missing[@]}" || give_up "apt-get install failed" "see its message above"
