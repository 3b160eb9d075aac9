"""Compiled settings: the same as the file's, for everybody, and never used when the file has changed."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nornir_torque_vm.config.compiled import compile_settings, for_fronts, read_compiled, server_patterns
from nornir_torque_vm.config.kinds import Hosts
from nornir_torque_vm.config.settings import SETTINGS, Settings, load
from nornir_torque_vm.errors import SettingsError, StateError
from nornir_torque_vm.wrapper.runtime import is_server

WRAPPER = Path(__file__).parents[2] / "wrapper"
TEXT = """\
IMAGE_POOL = "/images"
real_qsub_on_server = "/opt/it's $HOME/qsub"
server_hostname = "Head-1.cluster"
ram_default = "3G"
timeout = 12.5
address_sources = ["arp", "agent"]
disabled_hosts_list = "login[0-9]+"
"""


@pytest.fixture
def etc(tmp_path: Path) -> str:
    """A directory with a settings file."""
    (tmp_path / "settings.toml").write_text(TEXT)
    return str(tmp_path)


def sourced(etc: str) -> dict[str, str]:
    """The variables that the shell form sets."""
    names = ("disabled", "qsub_on_server", "qsub_on_nodes", "server", "server_too", "site_filter")
    script = (
        f'. "$1"; for name in {" ".join(names)}; do eval "printf \'%s\\\\0\' \\"\\$torque_vm_$name\\""; done'
    )
    done = subprocess.run(
        ["sh", "-eu", "-c", script, "sh", f"{etc}/compiled/qsub.sh"],
        check=True,
        capture_output=True,
        text=True,
    )
    assert done.stderr == ""
    return dict(zip(names, done.stdout.split("\0"), strict=False))


def test_python_reads_what_the_file_says(etc: str) -> None:
    """The same values, types included, with defaults for the rest."""
    assert read_compiled(etc) is None
    compiled = compile_settings(etc)
    assert compiled == load(f"{etc}/settings.toml") == read_compiled(etc)
    assert compiled.disabled_hosts_list == Hosts("login[0-9]+")


@given(st.data())
def test_every_setting_survives(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """In the form its kind dumps, which TOML and JSON share."""
    chosen = data.draw(st.lists(st.sampled_from(list(SETTINGS)), unique_by=lambda field: field.name))
    etc = tmp_path_factory.mktemp("etc")
    lines = (f"{field.name} = {json.dumps(field.kind.dump(field.default))}\n" for field in chosen)
    (etc / "settings.toml").write_text("".join(lines))
    assert compile_settings(str(etc)) == read_compiled(str(etc)) == load(str(etc / "settings.toml"))


def test_fronts_read_what_concerns_them(etc: str) -> None:
    """Whatever characters a path has."""
    compile_settings(etc)
    assert sourced(etc) == {
        "disabled": "false",
        "qsub_on_server": "/opt/it's $HOME/qsub",
        "qsub_on_nodes": "/usr/local/bin/qsub",
        "server": "[hH][eE][aA][dD]-1.[cC][lL][uU][sS][tT][eE][rR]",
        "server_too": "[hH][eE][aA][dD]-1",
        "site_filter": "",
    }


def test_every_name_is_used_by_a_front() -> None:
    """Fronts and form are written in two places; that no name is missing shows when a front runs."""
    fronts = "".join((WRAPPER / name).read_text() for name in ("qsub", "submit-filter"))
    for name in re.findall(r"^(torque_vm_\w+)=", for_fronts(Settings()), re.MULTILINE):
        assert re.search(rf"\$\{{?{name}\b", fronts)


def test_everybody_may_read_and_only_the_owner_write(etc: str) -> None:
    """Users submit; whatever the umask of the administrator."""
    before = os.umask(0o077)
    try:
        compile_settings(etc)
    finally:
        os.umask(before)
    made = Path(etc, "compiled")
    assert made.stat().st_mode & 0o777 == 0o755
    assert sorted(path.name for path in made.iterdir()) == ["qsub.sh", "settings.json"]
    assert {path.stat().st_mode & 0o777 for path in made.iterdir()} == {0o644}


CHANGES: dict[str, Callable[[Path], object]] = {
    "written": lambda path: path.write_text(TEXT.replace("3G", "4G")),
    "touched": lambda path: os.utime(path, ns=(0, path.stat().st_mtime_ns + 1000)),
    "older": lambda path: os.utime(path, ns=(0, path.stat().st_mtime_ns - 10**9)),
    "removed": lambda path: path.unlink(),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_file_is_compiled_again_or_read_itself(etc: str, change: str) -> None:
    """Both forms are stale at once, in whatever direction the time went."""
    path = Path(etc, "settings.toml")
    compile_settings(etc)
    assert fresh_for_a_shell(etc)
    assert read_compiled(etc) is not None
    CHANGES[change](path)
    assert not fresh_for_a_shell(etc)
    assert read_compiled(etc) is None


def test_a_file_put_in_its_place_is_another(etc: str) -> None:
    """Even of the same time and size."""
    path = Path(etc, "settings.toml")
    compile_settings(etc)
    shutil.copy2(path, f"{etc}/new")
    Path(etc, "new").replace(path)
    assert read_compiled(etc) is None


def fresh_for_a_shell(etc: str) -> bool:
    """The test that the fronts make."""
    text = (WRAPPER / "qsub").read_text()
    test = text[text.index("torque_vm_settings=") : text.index('\ttorque_vm_ask "$@"\nfi\n')]
    script = f"torque_vm_etc=$1\n{test}\nexit 1; fi"
    return subprocess.run(["sh", "-c", script, "sh", etc], check=False).returncode == 0


@pytest.mark.parametrize(
    "damage",
    [
        "",
        "{",
        "[]",
        "null",
        "{}",
        '{"version": 2}',
        '{"version": 1}',
        '{"version": 1, "stamp": []}',
        "[" * 100_000,
    ],
)
def test_a_damaged_form_is_not_used(etc: str, damage: str) -> None:
    """The settings file itself tells."""
    compile_settings(etc)
    Path(etc, "compiled/settings.json").write_text(damage)
    assert read_compiled(etc) is None


@pytest.mark.parametrize(
    "values",
    [
        {"no_such": 1},
        {"ram_default": "x"},
        {"ram_default": None},
        {"timeout": 9999},
        [],
        "x",
        None,
        {"arch": 1},
    ],
)
def test_a_form_of_another_program_version_is_not_used(etc: str, values: object) -> None:
    """One that knew other settings, or other limits."""
    compile_settings(etc)
    path = Path(etc, "compiled/settings.json")
    path.write_text(json.dumps({**json.loads(path.read_text()), "values": values}))
    assert read_compiled(etc) is None


def test_settings_that_are_wrong_are_not_compiled(etc: str) -> None:
    """And what was compiled before is stale by then."""
    compile_settings(etc)
    path = Path(etc, "settings.toml")
    for content in (b"timeout = 0\n", b"\xff", b"no_such = 1\n", b"= 1\n"):
        path.write_bytes(content)
        with pytest.raises(SettingsError, match=re.escape(str(path))):
            compile_settings(etc)
        assert read_compiled(etc) is None
    path.unlink()
    with pytest.raises(SettingsError, match="No such file"):
        compile_settings(etc)


def test_settings_that_change_meanwhile_are_not_compiled(etc: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A form made of one version must not bear the stamp of another."""
    real = os.fstat
    calls = iter(range(2))

    def fstat(fd: int) -> os.stat_result:
        if next(calls, None) == 1:
            os.utime(fd, ns=(0, 0))
        return real(fd)

    monkeypatch.setattr("nornir_torque_vm.config.compiled.os.fstat", fstat)
    with pytest.raises(SettingsError, match="was changed while it was read"):
        compile_settings(etc)


def test_a_directory_of_somebody_else_is_not_used(etc: str) -> None:
    """Every user's qsub would run what stands there."""
    Path(etc, "compiled").mkdir()
    Path(etc, "compiled").chmod(0o777)
    with pytest.raises(StateError, match="can be written by others"):
        compile_settings(etc)


LABEL = st.from_regex(r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,3}[A-Za-z0-9_])?", fullmatch=True)
NAME = st.lists(LABEL | st.sampled_from(["head", "HEAD", "c"]), min_size=1, max_size=3).map(".".join)


@given(st.data())
def test_shell_and_python_agree_which_host_is_the_server(data: st.DataObject) -> None:
    """Short or full, in any case."""
    server = data.draw(NAME | st.just(""))
    variants = [server.upper(), server.swapcase(), server.partition(".")[0], f"{server}.x", f"{server}x"]
    host = data.draw(NAME | st.sampled_from([name for name in variants if name] or ["x"]))
    patterns = [pattern for pattern in server_patterns(server) if pattern]
    # A pattern holds only letters in brackets, literal characters and, at the end, ".*".
    assert all(re.fullmatch(r"(\[[a-zA-Z]{2}\]|[0-9_.-])+(\.\*)?", pattern) for pattern in patterns)
    assert any(glob(pattern, host) for pattern in patterns) == is_server(server, host)


def glob(pattern: str, host: str) -> bool:
    """Whether a shell's ``case`` takes the host for one of the pattern."""
    literal = pattern.removesuffix("*")
    regex = re.sub(r"\.", r"\\.", literal) + (".*" if literal != pattern else "")
    return re.fullmatch(regex, host) is not None
