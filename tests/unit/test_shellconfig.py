"""Reading a shell script without running it: bash is the judge of every value that is claimed."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from shell_kit import NAMES, bash, noise, scripts

from nornir_torque_vm.errors import SettingsError
from nornir_torque_vm.shell.assignments import Assignment, read_script
from nornir_torque_vm.shell.variables import Value

in_one_directory = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


def last(script: str, **known: str) -> dict[str, Assignment]:
    """The last word on each variable."""
    return {found.name: found for found in read_script(script, known).assignments}


def value(script: str, name: str = "X", **known: str) -> Value | None:
    return last(script, **known)[name].value


def why(script: str, name: str = "X") -> str:
    found = last(script)[name]
    assert found.value is None
    return found.why


@settings(in_one_directory, max_examples=150)
@given(script=scripts)
def test_what_is_claimed_is_what_bash_sets(script: str, tmp_path: Path) -> None:
    """Whatever the script is made of; a script that is refused is one that bash does not accept either."""
    said = bash(script, tmp_path)
    if said is None:
        return
    try:
        found = last(script)
    except SettingsError:
        assert "return" in script or "exit" in script  # bash never got to what is wrong
        return
    for name in NAMES:
        claimed = found[name].value if name in found else None
        if claimed is not None:
            assert (said[name][:1] == (claimed,)) if isinstance(claimed, str) else (said[name] == claimed)


@given(script=noise | st.text(max_size=30))
def test_any_text_is_read_or_refused_in_one_line(script: str) -> None:
    """It always comes to an end, and an unreadable value has a reason."""
    refusal = ""
    try:
        found = read_script(script).assignments
    except SettingsError as error:
        found, refusal = (), str(error)
    assert refusal[:5] in {"", "line "}
    assert "\n" not in refusal
    assert all((thing.value is None) == bool(thing.why) for thing in found)


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("X=5", "5"),
        ("X=5;", "5"),
        ("X=", ""),
        ('X=""', ""),
        ('X="*"', "*"),
        ("X=*", "*"),
        ("X=5 # five", "5"),
        ("X=a#b", "a#b"),
        ("  X='a b'  ", "a b"),
        ("X='a'\"b\"c\\ d", "abc d"),
        ('X="a\\"b\\$c\\d"', 'a"b$c\\d'),
        ("X=a\\\nb", "ab"),
        ("X='a\nb'", "a\nb"),
        ("export X=5", "5"),
        ("declare -r X=5", "5"),
        ("declare -rx X='a b' Y=2", "a b"),
        ('readonly "X=a b"', "a b"),
        ("typeset X=5", "5"),
        ("Y=1 X=$Y", "1"),
        ('Y=a; X="${Y}b"', "ab"),
        ("Y=1; Y=2; X=$Y", "2"),
        ("X=${Y:-a}", "a"),
        ("X=${Y-a b}", "a b"),
        ("Y=; X=${Y:-a}", "a"),
        ("Y=; X=${Y-a}", ""),
        ('Y=c; X="${Z:-a$Y}"', "ac"),
        (": ${X:=5}", "5"),
        ("X=a; X+=b", "ab"),
        ("X=('a b' c # d\n 'e')", ("a b", "c", "e")),
        ("X=()", ()),
        ("Y=1; X=(\"$Y\" '*')", ("1", "*")),
        ("cat <<END\nX=1\nEND\nX=2", "2"),
        ("if true; then Y=1; fi; X=2", "2"),
        ("{ X=5; }", "5"),
        ("X=5 >/dev/null 2>&1", "5"),
        ("X=1; X=2 true", "1"),
        ("X=1; exit 0; X=2", "1"),
        ("X=1; [ -f /x ] && exit; X=2", "2"),
    ],
)
def test_a_value_is_read_where_the_script_says_it(script: str, expected: Value) -> None:
    """Quotes, comments, declarations, and variables the script has set before."""
    assert value(script) == expected


def test_variables_that_exist_before_are_known() -> None:
    """Such as those the earlier system set elsewhere."""
    assert value("X=$FILESYSTEM_TYPE_SFS", FILESYSTEM_TYPE_SFS="sharedfs") == "sharedfs"


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("X=$(hostname -s)", "has $(hostname -s), which only a running shell can tell"),
        ("X=`id -u`", "has `id -u`, which only a running shell can tell"),
        ("X=$((1 + 2))", "has $((1 + 2)), which only a running shell can tell"),
        ("X=${#Y}", "has ${#Y}, which only a running shell can tell"),
        ("X=~/images", "has ~, which only a running shell can tell"),
        ("X=$'a\\tb'", "has $'a\\tb', which only a running shell can tell"),
        ('X="$(echo ")")"', 'has $(echo ")"), which only a running shell can tell'),
        ("X=$HOME/x", "has $HOME, which is not set here"),
        ("X=$UID", "has $UID, whose value is not known"),
        ("Y=$(id); X=$Y", "has $Y, whose value is not known"),
        ("X=(*.img)", "has *, which only a running shell can tell"),
        ("Y=1; X=($Y)", "has $Y without quotes, which may become several words"),
        ("X[1]=5", "is one element of an array"),
        ("X=1; if true; then X=2; fi", "is set only under a condition"),
        ("X=1; [ -n a ] && X=2", "is set only under a condition"),
        ("case a in a) X=1;; esac", "is set only under a condition"),
        ("for i in 1 2; do X=$i; done", "is set inside a loop"),
        ("X=1; f() { X=2; }", "is set inside a function"),
        ("(X=1)", "is set in a shell of its own, where it has no effect"),
        ("X=1 | cat", "is set in a shell of its own, where it has no effect"),
        ("local X=1", "is set with local, outside a function"),
        ("X=1; read X", "is changed by read"),
        ("X=1; unset X", "is changed by unset"),
        ("X=1; ((X++))", "is changed by ((X++))"),
        ("X=1; Y=$((X += 2))", "is changed by an expression"),
        ("declare -i X=1+2", "is declared with -i"),
        ("readonly X=1; X=2", "was made read-only before"),
        ("PATH=/opt/bin:$PATH; X=$PATH", "has $PATH, whose value is not known"),
    ],
)
def test_what_only_a_running_shell_knows_is_not_guessed(script: str, expected: str) -> None:
    """The reason goes on after the variable's name."""
    assert why(script) == expected


def test_a_function_casts_doubt_on_what_was_said_before_it() -> None:
    """Nobody knows when it is called."""
    assert why("X=1; f() { X=2; }; f; X=3").startswith("is set inside a function")


def test_lines_and_source_text_are_told() -> None:
    """For messages and comments."""
    found = read_script("# a\n\nexport A=1 B='x\ny'\nC=$(id)\n").assignments
    assert [(thing.line, thing.name, thing.text) for thing in found] == [
        (3, "A", "A=1"), (3, "B", "B='x\ny'"), (5, "C", "C=$(id)"),
    ]  # fmt: skip


def test_code_from_elsewhere_is_told() -> None:
    """It may set anything, and is not followed."""
    found = read_script('source ./a.sh\n. "$B"\neval X=1\necho source\n').foreign
    assert [(word.line, word.text) for word in found] == [(1, "source"), (2, "."), (3, "eval")]


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("A=1\nB='x\nC=2\n", "line 2: what begins with 'x never ends"),
        ('A="$(echo "', 'line 1: what begins with "'),
        ("A=${B:-x", "line 1: what begins with ${B:-x never ends"),
        ("A=(1 2\n", "line 1: what begins with A=(1 2 never ends"),
        ("cat <<END\nX=1\n", "line 2: the here-document up to END never ends"),
        ("A=" + "$(" * 5000, "line 1: "),
        ("A=$(case a in a) echo;; esac)", "line 1: a case inside brackets cannot be read"),
    ],
)
def test_what_never_ends_is_refused_with_its_line(script: str, expected: str) -> None:
    """Rather than taken for a very long value."""
    with pytest.raises(SettingsError) as caught:
        read_script(script)
    assert str(caught.value).startswith(expected)
