"""Checking a settings file: every problem, not only the first, each one line with its cure."""

from __future__ import annotations

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nornir_torque_vm.config.check import Level, check_text
from nornir_torque_vm.config.sample import sample_settings
from nornir_torque_vm.config.settings import SETTINGS, Settings, loads
from nornir_torque_vm.config.tomltext import key_lines, toml_comment, toml_value
from nornir_torque_vm.errors import SettingsError


def said(text: str) -> list[str]:
    """What is said of a settings file, without its name."""
    return [str(found).replace("/s.toml", "") for found in check_text(text, "/s.toml").findings]


def test_a_file_without_mistakes_is_said_to_be_right() -> None:
    """With the number of settings it states."""
    assert said("timeout = 100") == ["ok     : 1 setting, defaults for the rest"]
    assert said(sample_settings()) == ["ok     : 0 settings, defaults for the rest"]
    assert check_text("timeout = 100", "").settings == Settings(timeout=100)


def test_all_problems_are_found_not_only_the_first() -> None:
    """Each with its line; what is wrong does not hide what comes after it."""
    found = said(
        "image_pool = /srv/images   # where\n"
        "timout = 5\n"
        "timeout = 600\n"
        "IMAGE_POOL = 'images'\n"
        "TIMEOUT = 5\n"
        "iocm_enabled = True;\n"
        "history_days = 0\n"
        "address_sources = [\n"
        "  'lease',\n"
        "]\n"
        "max_vms_per_node = 3\n"
        "vms_per_node_default = 4\n"
        "prologalarm = 60\n"
        "teardown_margin = 60\n"
        "[more]\n"
        "vcpus_default = 0\n"
    )
    assert found == [
        'error   line 1: not valid TOML: Invalid value; put texts into quotes: image_pool = "/srv/images"',
        "error   line 2: unknown setting 'timout'; did you mean timeout?",
        "error   line 4: setting image_pool is 'images' but must be an absolute path without '..'",
        "error   line 5: setting timeout is set a second time, after line 3; keep one of them",
        "error   line 6: not valid TOML: Invalid value; write iocm_enabled = true",
        "error   line 7: setting history_days is 0 but must be a whole number from 1 to 36500",
        "error   line 15: this begins a table; write settings without one",
        "error   line 16: setting vcpus_default is 0 but must be a whole number from 1 to 1024",
        (
            "error  : prologalarm (60 s) leaves no time for the guests: hooks are killed 10 s before it, and "
            "teardown_margin takes 60 s; raise $prologalarm on all nodes and prologalarm here, or lower "
            "teardown_margin"
        ),
        "error  : vms_per_node_default (4) is more than max_vms_per_node (3)",
    ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("timeout = 600", "error  : timeout (600 s) does not fit into prologalarm (300 s)"),
        ("image_pool = '/a", "error   line 1: not valid TOML: "),
        ("timeout 5", "error   line 1: not valid TOML: "),
        ("a.b = 1", "error   line 1: unknown setting 'a'"),
        ("timeout.x = 1", "error   line 1: setting timeout is {'x': 1} but must be"),
    ],
)
def test_each_mistake_is_told(text: str, problem: str) -> None:
    """In one line."""
    (line,) = said(text)
    assert line.startswith(problem)


def test_a_mistake_across_statements_is_found_too() -> None:
    """Whatever a statement alone does not show is found by reading the file as it will be read."""
    first, *_ = said("timeout.x = 1\ntimeout.x = 2")
    assert "must be" in first
    (line,) = said("'timeout' = 5\n\"timeout\" = 5")
    assert "set a second time, after line 1" in line


@pytest.mark.parametrize(
    ("text", "remark"),
    [
        (
            "disabled_hosts_list = 'f1, f2'",
            "warn   disabled_hosts_list: 'f1, f2' is one regular expression, not a list; join them: f1|f2",
        ),
        (
            "disabled_hosts_list = 'node*'",
            (
                "warn   disabled_hosts_list: in 'node*' the * repeats the character before it; "
                "for any characters write 'node.*'"
            ),
        ),
    ],
)
def test_what_is_right_and_may_not_be_meant_is_remarked(text: str, remark: str) -> None:
    """The file can be used all the same."""
    ok, line = said(text)
    assert ok.startswith("ok")
    assert line == remark


@pytest.mark.parametrize("pattern", ["", "*", "fe[0-9]", "fe1|fe2", "fe.*", "(a|b)+.*"])
def test_patterns_as_they_should_be_are_not_remarked(pattern: str) -> None:
    """All hosts, none, and regular expressions."""
    assert len(said(f"disabled_hosts_list = {toml_value(pattern)}")) == 1


def test_a_default_that_is_stated_is_not_remarked() -> None:
    """It asks for nothing that nodes do not do."""
    assert len(said("iocm_enabled = false\nvcpu_pinning_default = true")) == 1


lines = st.one_of(
    st.sampled_from([f"{field.name} = {toml_value(field.kind.dump(field.default))}" for field in SETTINGS]),
    st.builds("{} = {}".format, st.sampled_from([f.name for f in SETTINGS]), st.integers(-1, 700)),
    st.sampled_from(
        ["# x", "", "[t]", "x = 1", "timeout =", "= 5", 'a = """', "[", "timeout = [", "]", "TIMEOUT = 1"]
    ),
    st.text(max_size=12),
)


@given(text=st.lists(lines, max_size=6).map("\n".join))
def test_there_is_an_error_exactly_where_the_file_cannot_be_loaded(text: str) -> None:
    """And the settings to go on with are those of the file where it can."""
    checked = check_text(text, "/s.toml")
    bad = any(found.level is Level.ERROR for found in checked.findings)
    assert all("\n" not in str(found) for found in checked.findings)
    try:
        settings = loads(text)
    except SettingsError:
        assert bad
    else:
        assert not bad
        assert checked.settings == settings


# TOML as text


@given(value=st.one_of(st.text(), st.booleans(), st.integers(), st.lists(st.text())))
def test_values_are_written_as_toml_reads_them(value: object) -> None:
    """On one line, in any plane of Unicode."""
    assert tomllib.loads(f"x = {toml_value(value)}") == {"x": value}
    assert "\n" not in toml_value(value)


@given(text=st.text(st.characters()))
def test_a_comment_holds_any_text(text: str) -> None:
    """Control characters and lone surrogates too; no line is long."""
    comment = toml_comment(text)
    assert tomllib.loads(comment) == {}
    assert comment.encode()
    assert max(map(len, comment.split("\n"))) <= 102


def test_the_lines_of_names_are_found() -> None:
    """Also of values over several lines; what looks like a name inside a text is none."""
    text = "# c\na = 1\n'b' = '''\na = 2\n'''\nc = [\n 1,\n]\n\nd.e = 1\n[t]\nf = 1\n"
    assert key_lines(text) == {"a": 2, "b": 3, "c": 6, "d": 10}
