"""``torque-vm config``: show, check and import, with the exit codes and the words people see."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from config_kit import Host, forget_templates

from nornir_torque_vm.cli import config
from nornir_torque_vm.cli.app import outcome
from nornir_torque_vm.config.compiled import read_compiled
from nornir_torque_vm.config.settings import SETTINGS, Settings, loads
from nornir_torque_vm.config.tomltext import toml_value
from nornir_torque_vm.render import trial

Run = tuple[int, str, str]


class Command:
    """Runs ``torque-vm config``."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self.capsys = capsys

    def __call__(self, *words: object) -> Run:
        self.capsys.readouterr()
        code = outcome(["config", *map(str, words)])
        said = self.capsys.readouterr()
        return code, said.out, said.err


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    monkeypatch.delenv("TORQUE_VM_SETTINGS", raising=False)
    monkeypatch.setattr(trial, "VALIDATOR", "no-such-program")
    return Command(capsys)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A settings file in a directory of its own."""
    tmp_path.chmod(0o755)
    path = tmp_path / "etc" / "settings.toml"
    path.parent.mkdir()
    return path


@pytest.fixture
def host(tmp_path: Path, file: Path) -> Iterator[Host]:
    """A host as it should be, and its settings file."""
    made = Host(tmp_path)
    file.write_text("".join(f"{name} = {toml_value(value)}\n" for name, value in made.values.items()))
    forget_templates()
    yield made
    forget_templates()


# Show


def test_show_prints_every_setting_as_it_can_be_written(run: Command, file: Path) -> None:
    """The output is a settings file."""
    file.write_text("timeout = 100\nRAM_DEFAULT = '3G'\n")
    code, out, err = run("show", "--settings", file)
    assert (code, err) == (0, "")
    assert loads(out) == Settings(timeout=100, ram_default=3 << 30)
    assert len(out.splitlines()) == len(list(SETTINGS))


def test_show_prints_those_that_are_named_by_any_of_their_names(run: Command, file: Path) -> None:
    """In that order."""
    file.write_text("")
    assert run("show", "TIMEOUT", "vm_img_dir", "--settings", file)[:2] == (
        0, 'timeout = 240\nimage_pool = "/srv/torque-vm/images"\n'
    )  # fmt: skip
    code, out, err = run("show", "timout", "--settings", file)
    assert (code, out) == (2, "")
    assert err == "torque-vm: unknown setting 'timout'; did you mean timeout?\n"


def test_origins_are_the_default_or_file_and_line(run: Command, file: Path) -> None:
    """And the name it has there, if that is another one."""
    file.write_text(
        "# x\n\ntimeout = 100\naddress_sources = [\n 'arp',\n]\nVM_IMG_DIR = '/a'\nImage_Pool2 = 1\n"
    )
    file.write_text(file.read_text().replace("Image_Pool2 = 1\n", ""))
    names = ("timeout", "address_sources", "image_pool", "parallel")
    code, out, _ = run("show", "--origin", *names, "--settings", file)
    assert code == 0
    assert [line.split(maxsplit=2) for line in out.splitlines()] == [
        ["setting", "value", "origin"],
        ["timeout", "100", f"{file} line 3"],
        ["address_sources", '["arp"]', f"{file} line 4"],
        ["image_pool", '"/a"', f"{file} line 7 as VM_IMG_DIR"],
        ["parallel", "true", "built-in default"],
    ]


def test_show_gives_programs_json(run: Command, file: Path) -> None:
    """Values as TOML and JSON hold them."""
    file.write_text("ram_default = '3G'\n")
    _, out, _ = run("show", "ram_default", "timeout", "--json", "--settings", file)
    assert json.loads(out) == {
        "ram_default": {"value": "3G", "origin": f"{file} line 1"},
        "timeout": {"value": 240, "origin": "built-in default"},
    }


def test_the_environment_can_name_the_file(run: Command, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As for all commands."""
    file.write_text("timeout = 100\n")
    monkeypatch.setenv("TORQUE_VM_SETTINGS", str(file))
    assert run("show", "timeout")[1] == "timeout = 100\n"
    assert f"{file}: 1 setting" in run("check", "--no-compile")[1]


def test_the_default_file_may_be_missing_a_named_one_not(
    run: Command, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a file the defaults hold."""
    monkeypatch.setattr(config, "DEFAULT_PATH", str(file))
    assert run("show", "timeout", "--origin")[1].endswith("timeout  240    built-in default\n")
    assert run("show", "--settings", file) == (2, "", f"torque-vm: there is no settings file {file}\n")
    assert run("check")[1].startswith(f"note   {file}: there is no such file, the defaults hold\n")
    assert run("check", file)[0] == 2


@pytest.mark.parametrize("content", [b"timeout = 0", b"[", b"\xff"])
def test_show_refuses_a_file_that_cannot_be_used(run: Command, file: Path, content: bytes) -> None:
    """In one line; check says more."""
    file.write_bytes(content)
    code, out, err = run("show", "--settings", file)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert str(file) in err


# Check


def test_check_compiles_when_there_is_no_error(run: Command, file: Path, host: Host) -> None:
    """What the wrapper reads is then what the file says."""
    code, out, _ = run("check", file)
    assert code == 0
    assert {line.split()[0] for line in out.splitlines()} == {"ok"}
    assert out.splitlines()[-1] == f"ok     compiled: {file.parent}/compiled is what the wrapper reads"
    assert read_compiled(str(file.parent)) == host.settings()


def test_check_compiles_nothing_when_it_shall_not_or_there_is_an_error(
    run: Command, file: Path, host: Host
) -> None:
    """A broken file must not replace one that works."""
    assert run("check", "--no-compile", file)[0] == 0
    assert not (file.parent / "compiled").exists()
    host.image.unlink()
    code, out, _ = run("check", file)
    assert code == 1
    assert "error  img_default: image 'debian.qcow2' does not exist" in out
    assert not (file.parent / "compiled").exists()


def test_check_says_that_another_file_is_not_what_the_wrapper_reads(
    run: Command, file: Path, host: Host
) -> None:
    """One that is only tried out."""
    other = file.rename(file.with_name("new.toml"))
    code, out, _ = run("check", other)
    assert code == 0
    assert out.splitlines()[-1] == "note   compiled: nothing: the wrapper reads a settings.toml only"


def test_check_shows_every_problem_and_ends_with_one(run: Command, file: Path, host: Host) -> None:
    """Of the file and of the host, with the settings that are right."""
    file.write_text(file.read_text() + "timout = 5\nvcpus_default = 0\nreal_qsub_on_nodes = '/nowhere'\n")
    host.mom.write_text("$prologalarm 200\n")
    code, out, _ = run("check", file)
    levels = [line.split()[0] for line in out.splitlines()]
    assert code == 1
    assert levels.count("error") == 3
    assert levels.count("warn") == 2
    assert f"{file} line 6: unknown setting 'timout'; did you mean timeout?" in out
    assert "ok     img_default" in out


def test_warnings_alone_are_no_failure(run: Command, file: Path, host: Host) -> None:
    """The site works."""
    host.pool.chmod(0o750)
    code, out, _ = run("check", file)
    assert code == 0
    assert "warn   image_pool" in out
    assert "ok     compiled" in out


def test_a_settings_file_that_others_can_write_is_an_error(run: Command, file: Path, host: Host) -> None:
    """It says what root runs."""
    file.chmod(0o666)
    code, out, _ = run("check", file)
    assert code == 1
    assert (
        f"error  {file}: {file} can be written by others (mode 0666), who could change what root does" in out
    )


def test_a_directory_that_cannot_be_written_is_told(run: Command, file: Path, host: Host) -> None:
    """A user may check, but not compile."""
    (file.parent / "compiled").write_text("in the way")
    code, out, _ = run("check", file)
    assert code == 0
    last = out.splitlines()[-1]
    assert last.startswith("warn   compiled: nothing: ")
    assert last.endswith("; run this command as root")


def test_check_gives_programs_json(run: Command, file: Path, host: Host) -> None:
    """The same findings."""
    _, out, _ = run("check", "--json", "--no-compile", file)
    found = json.loads(out)
    assert found[0] == {
        "level": "ok",
        "subject": str(file),
        "text": "5 settings, defaults for the rest",
        "cure": "",
    }
    assert {one["level"] for one in found} == {"ok"}


def test_check_needs_nothing_that_a_submit_host_has_not(file: Path, host: Host) -> None:
    """Click aside, the standard library."""
    code = (
        "import sys\n"
        "for name in ('nornir', 'jinja2', 'libvirt', 'paramiko', 'cryptography'): sys.modules[name] = None\n"
        "from nornir_torque_vm.cli.app import run; run(['config', 'check', '--no-compile', sys.argv[1]])"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", code, str(file)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "note   template_dir: templates are not tried" in done.stdout


# Import


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "config.sh"
    path.write_text("VM_IMG_DIR=/opt/i\nTIMEOUT=$(id)\nREGEX_FE='*'\n")
    return path


def test_import_writes_to_standard_output_or_a_file(run: Command, script: Path, file: Path) -> None:
    """With what was lost on standard error, and its exit code."""
    code, out, err = run("import", script)
    assert code == 1
    assert loads(out) == Settings(image_pool="/opt/i")
    assert err.splitlines() == [
        f"torque-vm: {script} line 2: TIMEOUT has $(id), which only a running shell can tell",
        f"torque-vm: {script}: 1 taken over, 1 not, 1 without a counterpart",
    ]
    assert run("import", script, "-o", file) == (1, "", err)
    assert file.read_text() == out
    assert file.stat().st_mode & 0o777 == 0o644


def test_import_that_loses_nothing_is_a_success(run: Command, script: Path) -> None:
    """Names without a counterpart are no loss."""
    script.write_text("VM_IMG_DIR=/opt/i\nREGEX_FE='*'\n")
    assert run("import", script)[0] == 0


def test_import_overwrites_nothing_unless_told(run: Command, script: Path, file: Path) -> None:
    """Somebody may have edited it."""
    file.write_text("timeout = 5\n")
    code, _, err = run("import", script, "-o", file)
    assert (code, err.split(";")[0]) == (2, f"torque-vm: {file} exists")
    assert file.read_text() == "timeout = 5\n"
    assert run("import", script, "-o", file, "--force")[0] == 1
    assert loads(file.read_text()) == Settings(image_pool="/opt/i")


def test_import_never_executes_the_script(run: Command, script: Path, tmp_path: Path) -> None:
    """Whatever stands in it."""
    script.write_text("A=$(touch ran)\nB=`touch ran`\ntouch ran\n. ./touch\ntrap 'touch ran' EXIT\n")
    here = Path.cwd()
    os.chdir(tmp_path)
    try:
        run("import", script)
    finally:
        os.chdir(here)
    assert not (tmp_path / "ran").exists()


def test_import_refuses_what_is_no_script(run: Command, script: Path, file: Path) -> None:
    """One line, and no file."""
    script.write_text("A='\n")
    assert run("import", script, "-o", file) == (
        2, "", f"torque-vm: {script}: line 1: what begins with ' never ends\n"
    )  # fmt: skip
    assert run("import", file)[0] == 2
    assert not file.exists()


def test_import_takes_comments_in_any_encoding(run: Command, script: Path) -> None:
    """Old files are not all UTF-8."""
    script.write_bytes(b"# f\xfcr alle\nTIMEOUT=100 # \xe9\n")
    assert loads(run("import", script)[1]) == Settings(timeout=100)


def test_import_says_where_it_cannot_write(run: Command, script: Path, tmp_path: Path) -> None:
    """One line."""
    code, _, err = run("import", script, "-o", tmp_path / "none" / "settings.toml")
    assert (code, err.count("\n")) == (2, 1)
    assert "settings.toml cannot be written: No such file or directory" in err
