"""Scripts for the tests of the shell reader, and bash itself as the judge of what they set."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from hypothesis import strategies as st

NAMES = ("A", "B", "C", "D")

_REPORT = r"""
report() {
  local reported
  for reported in A B C D; do
    local -n referred=$reported
    printf '%s\0' "$reported" "${#referred[@]}" "${referred[@]}"
    unset -n referred
  done
}
trap 'trap - EXIT; unset IFS; builtin printf "\0\1\0"; report' EXIT
source ./script
"""


def bash(script: str, directory: Path) -> dict[str, tuple[str, ...]] | None:
    """What bash has in each of the variables after the script, as arrays; None where it complained.

    :param directory: an empty directory, in which the script runs without any program to call.
    """
    (directory / "script").write_text(script, encoding="utf-8")
    done = subprocess.run(
        ["/bin/bash", "--norc", "--noprofile", "-c", _REPORT], cwd=directory, env={"PATH": "/nonexistent"},
        stdin=subprocess.DEVNULL, capture_output=True, timeout=20, check=False,
    )  # fmt: skip
    if done.stderr:
        return None
    items = iter(done.stdout.decode().partition("\0\1\0")[2].split("\0"))
    return {name: tuple(next(items) for _ in range(int(next(items)))) for name in items if name}


def _joined(*choices: str) -> st.SearchStrategy[str]:
    return st.sampled_from(choices)


names = st.sampled_from(NAMES)
_plain = st.text(alphabet="ab1-.:/,~*{}#=é", min_size=1, max_size=4)
_atoms = st.recursive(
    st.one_of(
        _plain,
        st.text(alphabet='a b"$\\#;\n', max_size=4).map(lambda text: f"'{text}'"),
        st.text(alphabet="a b';#~", max_size=4).map(lambda text: f'"{text}"'),
        _joined("\\ ", "\\$", "\\\n", "\\'", '\\"', '"a\\$b"', '"a\\qb"', '"$A $B"', '"${C}"'),
        _joined(
            "$(echo a)", "`echo a`", "$((1+2))", "$'a\\n'", "${#A}", "${A%b}", "$1", "$?", '"$(echo "b c")"'
        ),
        names.map("${}".format),
        names.map("${{{}}}".format),
    ),
    lambda inner: st.builds(
        "{0}${{{1}{2}{3}}}{0}".format, _joined("", '"'), names, _joined("-", ":-", "=", ":="), inner
    ),
    max_leaves=3,
)
values = st.lists(_atoms, max_size=3).map("".join)
_assignments = st.one_of(
    st.builds("{}{}{}".format, names, _joined("=", "=", "=", "+="), values),
    st.builds("{}=({} {})".format, names, values, values),
)
_simple = st.one_of(
    _assignments,
    st.builds("{} {}".format, _assignments, _assignments),
    st.builds("{} {}{}".format, _joined("export", "declare", "readonly", "typeset", "local"),
              _joined("", "", "-r ", "-x ", "-i ", "-u ", "-a "), _assignments),
    st.builds("export {} {}".format, _assignments, _assignments),
    st.builds('export "{}={}"'.format, names, _plain),
    st.builds("{} :".format, _assignments),
    st.builds(": {}".format, values),
    st.builds("{} {}".format, _joined("unset", "export", "readonly", "printf -v"), names).map(
        lambda text: f"{text} x" if text.startswith("printf") else text
    ),
    st.builds("read {} <<< {}".format, names, _plain),
    st.builds("(({}=5))".format, names),
    st.builds("let {}=5".format, names),
    st.builds(": <<E\n{}=1 ' $(\nE".format, names),
    st.builds("# {}=1 '".format, names).map("{}\n".format),
    _joined("f", "g", ":"),
)  # fmt: skip
_compound = (
    "if true; then {}; fi", "if false; then {0}; else {0}; fi", '[ -z "$A" ] && {}', "false || {}",
    "{{ {}; }}", "( {} )", "f() {{ {}; }}", "function g {{ {}; }}", "for D in 1 2; do {}; done",
    "case a in a) {};; *) :;; esac", "case a in (b|c) :;; (a) {} ;; esac", "{} | :", "{{ {}; }} | :",
    "[[ -n a ]] && {}", "{} &", "{} && true &", "while false; do {}; done", "true && {{ {}; }}", "! {}",
    "{} >/dev/null", "if {}; then :; fi",
)  # fmt: skip


def _wrapped(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    bodies = st.lists(inner, min_size=1, max_size=2).map("\n".join)
    return st.builds(
        lambda frame, body: frame.format(f"\n{body}\n" if "\n" in body else body),
        st.sampled_from(_compound),
        bodies,
    )


_statements = st.recursive(_simple, _wrapped, max_leaves=3) | _joined("return", "exit")
scripts = st.lists(_statements, min_size=1, max_size=6).map(
    lambda statements: re.sub(r"\n;", "\n", "\n".join(statements)) + "\n"
)
"""Scripts of the statements that configuration files have, and of some they should not have."""

_bits = (
    *"=\"'${}()\\\n ;&|<>#-:~*,1a[]+`", "A=", "\nB=", "$A", "${A:-", "${B:=", "$(", "((", "if ", "fi",
    "then ", "case ", " in ", "esac", "export ", "declare -i ", "<<E\n", "\nE\n", "f() {", "[[ ", " ]]",
)  # fmt: skip
noise = st.lists(st.sampled_from(_bits), max_size=16).map("".join)
"""Characters and words that mean something to a shell, in any order."""
