"""``torque-vm install submit-host``: what it puts where, and that it takes exactly that away again."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import io
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from nornir_torque_vm.cli.app import outcome
from nornir_torque_vm.config.compiled import read_compiled
from nornir_torque_vm.install import execution, ground, host
from nornir_torque_vm.install.model import Action, Verb

Snapshot = dict[str, tuple[int, bytes | str | None]]
SETTINGS = b"# ours\nmax_vms_per_node = 4\n"


@dataclasses.dataclass
class Host:
    """A submit host below a directory, and the command on it."""

    root: Path
    capsys: pytest.CaptureFixture[str]

    def __post_init__(self) -> None:
        for name in ("spool", "modules"):
            self.directory(name)

    def directory(self, name: str) -> Path:
        path = self.root / name
        path.mkdir(parents=True, mode=0o755)
        path.chmod(0o755)
        return path

    def path(self, name: str) -> Path:
        return self.root / name

    def run(self, *words: str, code: int = 0) -> str:
        """Run the command; return what it printed, the sentences on stderr behind the table."""
        self.capsys.readouterr()
        places = ("--prefix", "opt", "--torque-home", "spool", "--etc", "etc", "--modulefiles", "modules")
        named = [word if word.startswith("-") else str(self.root / word) for word in places]
        assert outcome(["install", "submit-host", *named, *words]) == code
        said = self.capsys.readouterr()
        return said.out + said.err

    def snapshot(self) -> Snapshot:
        """Everything below the root: mode, and content or a link's target."""
        return {
            str(path.relative_to(self.root)): (
                path.lstat().st_mode,
                str(path.readlink()) if path.is_symlink() else path.read_bytes() if path.is_file() else None,
            )
            for path in self.root.rglob("*")
        }

    @property
    def config(self) -> Path:
        return self.root / "spool/torque.cfg"

    @property
    def settings(self) -> Path:
        return self.root / "etc/settings.toml"

    @property
    def line(self) -> str:
        return f"SUBMITFILTER {self.root}/opt/wrapper/submit-filter"

    def give(self, name: str, content: bytes | str, mode: int = 0o644) -> Path:
        """Put a file of the site's own there."""
        path = self.root / name
        if not path.parent.is_dir():
            self.directory(str(path.parent.relative_to(self.root)))
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        path.chmod(mode)
        return path


@pytest.fixture
def submit(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Host:
    monkeypatch.setattr(host, "LEGACY_FILTER", str(tmp_path / "sbin/torque_submitfilter"))
    return Host(tmp_path, capsys)


def test_a_first_run_puts_everything_in_place(submit: Host) -> None:
    """Fronts, module files, manual pages, completions, settings and what is compiled from them."""
    submit.run()
    there = {name: mode & 0o777 for name, (mode, content) in submit.snapshot().items() if content is not None}
    for name in ("qsub", "vsub", "submit-filter"):
        assert there[f"opt/wrapper/{name}"] == 0o755
    others = {
        "modules/torque-vm", "modules/torque-vm.lua", "opt/share/man/man1/vsub.1",
        "opt/share/man/man1/qsub-vm.1", "opt/share/bash-completion/completions/qsub",
        "opt/share/bash-completion/completions/vsub", "opt/share/fish/vendor_completions.d/qsub.fish",
        "opt/share/zsh/site-functions/_vsub", "opt/share/bash-completion/completions/torque-vm",
        "opt/share/zsh/site-functions/_torque-vm", "opt/share/fish/vendor_completions.d/torque-vm.fish",
        "etc/settings.toml", "etc/compiled/settings.json",
        "etc/compiled/qsub.sh", "spool/torque.cfg", "opt/installed.json",
    }  # fmt: skip
    assert {there.get(name) for name in others} == {0o644}
    assert submit.config.read_text() == f"{submit.line}\n"
    assert read_compiled(str(submit.path("etc"))) is not None


def test_what_is_put_in_place_knows_this_host(submit: Host) -> None:
    """The interpreter that ran the command, the settings, and the wrapper's directory in the module files."""
    submit.run()
    front = submit.path("opt/wrapper/qsub").read_text()
    assert f"\ntorque_vm_python={sys.executable}\n" in front
    assert f"\ntorque_vm_etc={submit.path('etc')}\n" in front
    for name in ("torque-vm", "torque-vm.lua"):
        assert f"{submit.path('opt')}/wrapper" in submit.path(f"modules/{name}").read_text()


def test_directories_are_for_everybody_whatever_the_umask(submit: Host) -> None:
    """Users run what is in them."""
    before = os.umask(0o077)
    try:
        submit.run()
    finally:
        os.umask(before)
    modes = {mode & 0o777 for mode, content in submit.snapshot().values() if content is None}
    assert modes == {0o755}


def test_the_same_run_again_has_nothing_to_do(submit: Host) -> None:
    """It does not even write a file anew."""
    submit.run()
    before = {path: path.stat().st_mtime_ns for path in submit.root.rglob("*")}
    assert submit.run().startswith("nothing to do\n")
    assert {path: path.stat().st_mtime_ns for path in submit.root.rglob("*")} == before


def test_a_dry_run_shows_the_same_table_and_does_nothing(submit: Host) -> None:
    """The table names every file, and the line that goes into torque.cfg."""
    before = submit.snapshot()
    dry = submit.run("--dry-run")
    assert submit.snapshot() == before
    assert f"edit     {submit.config}" in dry
    assert submit.line in dry
    assert submit.run() == dry


CONFIGS = {
    "none": None,
    "empty": b"",
    "no filter": b"# of 2012\nSERVERHOST head",
    "a filter in a comment": b"# SUBMITFILTER /site/filter\nQSUBSLEEP 1\n",
    "odd bytes": b"\xff\xfe\0\r\n\n\n",
}


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS.keys())
@pytest.mark.parametrize("settings", [None, SETTINGS], ids=["no settings", "settings"])
def test_uninstalling_leaves_the_host_as_it_was(
    submit: Host, config: bytes | None, settings: bytes | None
) -> None:
    """Byte for byte, modes and directories too."""
    if config is not None:
        submit.give("spool/torque.cfg", config, 0o640)
    if settings is not None:
        submit.give("etc/settings.toml", settings, 0o600)
    before = submit.snapshot()
    submit.run()
    assert submit.snapshot() != before
    submit.run("--uninstall")
    assert submit.snapshot() == before
    assert submit.run("--uninstall") == "nothing to do\n"


def test_a_filter_of_the_site_is_not_replaced_silently(submit: Host) -> None:
    """One sentence says what to set; nothing is touched."""
    submit.give("spool/torque.cfg", "SUBMITFILTER /site/filter\n")
    before = submit.snapshot()
    assert submit.run(code=1) == (
        "torque-vm: this host has a submit filter of its own, /site/filter; to have it run before ours say "
        f"--chain, or write 'site_submit_filter = \"/site/filter\"' into {submit.settings}\n"
    )
    assert submit.snapshot() == before


@pytest.mark.parametrize("settings", [None, SETTINGS, b'#site_submit_filter = ""\nram_default = "1G"\n'])
def test_chaining_sets_the_setting_and_uninstalling_brings_the_sites_filter_back(
    submit: Host, settings: bytes | None
) -> None:
    """The site's own line of torque.cfg returns as it was written."""
    submit.give("spool/torque.cfg", "A 1\n\tSUBMITFILTER=/site/filter # 2012\nB 2")
    if settings is not None:
        submit.give("etc/settings.toml", settings)
    before = submit.snapshot()
    submit.run("--chain")
    assert submit.config.read_text() == f"A 1\n\t{submit.line.replace(' ', '=')} # 2012\nB 2"
    compiled = read_compiled(str(submit.path("etc")))
    assert compiled is not None
    assert compiled.site_submit_filter == "/site/filter"
    assert submit.run().startswith("nothing to do\n")
    submit.run("--uninstall")
    assert submit.snapshot() == before


def test_a_filter_that_the_settings_name_is_chained_already(submit: Host) -> None:
    """So the way without --chain, which the sentence names, works."""
    submit.give("spool/torque.cfg", "SUBMITFILTER /site/filter\n")
    settings = submit.give("etc/settings.toml", 'site_submit_filter = "/site/filter"\n')
    submit.run()
    assert submit.config.read_text() == f"{submit.line}\n"
    assert settings.read_text() == 'site_submit_filter = "/site/filter"\n'


def test_two_filters_of_the_site_are_a_contradiction(submit: Host) -> None:
    """The one that runs today and the one in the settings."""
    submit.give("spool/torque.cfg", "SUBMITFILTER /site/filter\n")
    submit.give("etc/settings.toml", 'site_submit_filter = "/site/other"\n')
    said = submit.run("--chain", code=1)
    assert "this host's own submit filter is /site/filter, and site_submit_filter in" in said
    assert said.endswith("names /site/other; correct that setting\n")


@pytest.mark.parametrize("where", ["legacy", "beside qsub"])
def test_a_filter_that_torque_finds_without_being_told_is_the_sites_too(submit: Host, where: str) -> None:
    """A SUBMITFILTER line would switch it off."""
    if where == "legacy":
        theirs = submit.give("sbin/torque_submitfilter", "#!/bin/sh\n", 0o755)
        settings = b""
    else:
        theirs = submit.give("torque/libexec/qsub_filter", "#!/bin/sh\n", 0o755)
        settings = f'real_qsub_on_nodes = "{submit.root}/torque/bin/qsub"\n'.encode()
    submit.give("etc/settings.toml", settings)
    assert f"a submit filter of its own, {theirs}" in submit.run(code=1)
    submit.run("--chain")
    assert f'site_submit_filter = "{theirs}"'.encode() in submit.settings.read_bytes()


def test_the_filter_of_another_installation_is_not_chained(submit: Host) -> None:
    """It would do the same work twice; the sentence says how to take it away."""
    submit.run()
    said = submit.run("--prefix", str(submit.path("opt2")), code=1)
    assert f"names the submit filter of another installation, below {submit.path('opt')}" in said
    assert f"torque-vm install submit-host --prefix {submit.path('opt')} --uninstall" in said


def test_a_settings_file_with_a_mistake_stops_before_anything_is_done(submit: Host) -> None:
    """The sentence names the file."""
    submit.give("etc/settings.toml", "max_vms = 4\n")
    before = submit.snapshot()
    assert submit.run(code=2).startswith(f"torque-vm: {submit.settings}: ")
    assert submit.snapshot() == before


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--torque-home", "/nonexistent/torque"), "there is no TORQUE here: /nonexistent/torque is missing"),
        (("--prefix", "/opt/my vm"), "TORQUE cannot run /opt/my vm/wrapper/submit-filter"),
        (("--prefix", "opt"), "'--prefix': 'opt' is not an absolute path without '..'"),
        (("--etc", "/opt/../etc"), "'--etc': '/opt/../etc' is not an absolute path without '..'"),
        (("--modulefiles", "x"), "'--modulefiles': 'x' is not an absolute path without '..'"),
    ],
)
def test_places_that_cannot_be_are_named(submit: Host, words: tuple[str, ...], said: str) -> None:
    """Nothing was done then."""
    before = submit.snapshot()
    assert said in submit.run(*words, code=2 if "'..'" in said else 1)
    assert submit.snapshot() == before


def test_a_file_of_somebody_else_is_in_the_way(submit: Host) -> None:
    """It is not overwritten; one that is as it should be already is not taken for ours either."""
    submit.give("modules/torque-vm", "#%Module\n# our own\n")
    before = submit.snapshot()
    said = submit.run(code=1)
    assert f"{submit.path('modules/torque-vm')} is there and not from this command; move it away" in said
    assert submit.snapshot() == before


def test_a_file_that_was_there_and_right_stays_when_ours_go(submit: Host) -> None:
    """Only what the command made is taken away."""
    submit.run()
    same = submit.path("modules/torque-vm").read_bytes()
    submit.run("--uninstall")
    submit.give("modules/torque-vm", same)
    submit.run()
    submit.run("--uninstall")
    assert submit.path("modules/torque-vm").read_bytes() == same


def test_what_was_edited_since_is_kept_and_named(submit: Host) -> None:
    """By a later install and by an uninstall; settings are made to be edited, so only the latter."""
    submit.run()
    edited = submit.path("modules/torque-vm")
    for path in (edited, submit.settings):
        path.write_text(path.read_text() + "# a change\n")
    said = submit.run()
    assert f"{edited} is left as it is: edited since it was installed; remove it to get the new one" in said
    assert f"{submit.settings} is left" not in said
    said = submit.run("--uninstall")
    for path in (edited, submit.settings):
        assert f"{path} is left as it is: edited since it was installed\n" in said
        assert path.read_text().endswith("# a change\n")
    assert not submit.path("opt").exists()
    assert not submit.path("etc/compiled").exists()
    assert submit.run("--uninstall") == "nothing to do\n"


def test_changed_settings_are_compiled_again(submit: Host) -> None:
    """A run after an edit of the settings puts the fronts' form of them right."""
    submit.run()
    submit.settings.write_text("max_vms_per_node = 3\n")
    assert f"compile  {submit.path('etc/compiled')}" in submit.run()
    compiled = read_compiled(str(submit.path("etc")))
    assert compiled is not None
    assert compiled.max_vms_per_node == 3


def test_a_line_that_was_taken_out_by_hand_is_put_in_again(submit: Host) -> None:
    """And leaves no trace in the end."""
    submit.give("spool/torque.cfg", "A 1\n")
    submit.run()
    submit.config.write_text("A 1\n")
    submit.run()
    assert submit.config.read_text() == f"{submit.line}\nA 1\n"
    assert "left" not in submit.run("--uninstall")
    assert submit.config.read_text() == "A 1\n"


def test_a_line_that_is_gone_when_ours_go_is_said(submit: Host) -> None:
    """The rest of the file is not ours to touch."""
    submit.run()
    submit.config.write_text("SUBMITFILTER /mine\n")
    said = submit.run("--uninstall")
    assert f"{submit.config} is left as it is: edited since: our line is not in it any more" in said
    assert submit.config.read_text() == "SUBMITFILTER /mine\n"


@pytest.mark.parametrize("by_hand", [False, True])
def test_a_filter_that_torque_would_still_call_is_not_taken_away(submit: Host, by_hand: bool) -> None:
    """Its line was written anew by hand, or was there before: qsub would refuse every job."""
    line = submit.line.replace(" ", "\t")
    if by_hand:
        submit.give("spool/torque.cfg", f"{line}\n")
    submit.run()
    submit.config.write_text(f"{line}\n")
    before = submit.snapshot()
    said = submit.run("--uninstall", code=1)
    assert f"{submit.config} names the submit filter that is to go" in said
    assert submit.snapshot() == before
    submit.config.write_text("")
    submit.run("--uninstall")
    assert not submit.path("opt").exists()


def test_other_options_move_what_is_there(submit: Host) -> None:
    """The state is what the last command says; the old module files and the old edit go."""
    submit.run()
    submit.directory("modules2")
    submit.directory("spool2")
    moved = ("--modulefiles", "modules2", "--torque-home", "spool2")
    named = [word if word.startswith("-") else str(submit.root / word) for word in moved]
    words = [
        "install",
        "submit-host",
        "--prefix",
        f"{submit.root}/opt",
        "--etc",
        f"{submit.root}/etc",
        *named,
    ]
    assert outcome(words) == 0
    assert sorted(path.name for path in submit.path("modules2").iterdir()) == ["torque-vm", "torque-vm.lua"]
    assert list(submit.path("modules").iterdir()) == []
    assert not submit.config.exists()
    assert submit.path("spool2/torque.cfg").read_text() == f"{submit.line}\n"


def test_a_newer_version_replaces_what_the_older_one_put_there(
    submit: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files that nobody edited; one that the newer version has no more goes."""
    submit.run()
    newer = host_kit(monkeypatch, {"wrapper/qsub": b"new\n", "wrapper/submit-filter": b"new\n"})
    rows = [line.split() for line in submit.run().splitlines()]
    assert ["update", str(submit.path("opt/wrapper/qsub"))] in rows
    assert ["remove", str(submit.path("opt/wrapper/vsub"))] in rows
    assert ["remove", str(submit.path("opt/share"))] in rows
    assert submit.path("opt/wrapper/qsub").read_bytes() == newer["wrapper/qsub"]
    assert submit.path("opt/wrapper/qsub").stat().st_mode & 0o777 == 0o755


def host_kit(monkeypatch: pytest.MonkeyPatch, files: dict[str, bytes]) -> dict[str, bytes]:
    """Have the command find another kit."""
    from nornir_torque_vm.install import kit

    real = kit.read_kit

    def read_kit(*args: object) -> object:
        return dataclasses.replace(real(*args), files=files)  # type: ignore[arg-type]

    monkeypatch.setattr(kit, "read_kit", read_kit)
    return files


class KilledError(BaseException):
    """What ends a run in the middle."""


STEPS = 32
"""More than a run has."""


@pytest.mark.parametrize("after", range(STEPS))
@pytest.mark.parametrize("then", ["uninstall", "install", "killed uninstall"])
def test_a_run_that_is_killed_can_be_repeated_and_taken_back(
    submit: Host, after: int, then: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever step it was killed before."""
    submit.give("spool/torque.cfg", "SUBMITFILTER /site/filter\n")
    submit.give("etc/settings.toml", SETTINGS)
    before = submit.snapshot()
    if then == "killed uninstall":
        submit.run("--chain")
    with pytest.MonkeyPatch.context() as killing:
        kill(killing, after)
        words = ["--uninstall"] if then == "killed uninstall" else ["--chain"]
        with contextlib.suppress(KilledError):
            submit.run(*words)
    if then == "install":
        submit.run("--chain")
        assert submit.run().startswith("nothing to do\n")
    submit.run("--uninstall")
    assert submit.snapshot() == before


def kill(monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    """End the command before its step number ``after``."""
    real, steps = execution._do, iter(range(STEPS))

    def do(action: Action, compile_settings: Callable[[str], object]) -> None:
        if next(steps) == after:
            raise KilledError
        real(action, compile_settings)

    monkeypatch.setattr(execution, "_do", do)


def test_the_filter_is_named_only_once_it_is_there(submit: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise qsub would refuse every job meanwhile; so it goes only after its line, too."""
    missing = []
    real = execution._do

    def do(action: Action, compile_settings: Callable[[str], object]) -> None:
        real(action, compile_settings)
        named = submit.config.exists() and "SUBMITFILTER" in submit.config.read_text()
        if named and not submit.path("opt/wrapper/submit-filter").exists():
            missing.append(action)

    monkeypatch.setattr(execution, "_do", do)
    submit.run()
    submit.run("--uninstall")
    assert missing == []


def owned_by(monkeypatch: pytest.MonkeyPatch, path: Path, uid: int) -> None:
    """Make a path look like somebody else's."""
    real = ground._status

    def status(name: str) -> os.stat_result | None:
        found = real(name)
        if found is None or name != str(path):
            return found
        return os.stat_result((*found[:4], uid, *found[5:]))

    monkeypatch.setattr(ground, "_status", status)


@pytest.mark.parametrize("name", ["opt/wrapper", "opt/wrapper/qsub", "etc", "modules", "spool/torque.cfg"])
def test_links_of_other_users_are_not_followed(
    submit: Host, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They would lead what root writes to a place of their choice."""
    path = submit.path(name)
    if path.is_dir():
        path.rmdir()
    target = submit.directory("theirs") if "." not in name and "qsub" not in name else submit.give("t", "x")
    if not path.parent.is_dir():
        submit.directory(str(path.parent.relative_to(submit.root)))
    path.symlink_to(target)
    owned_by(monkeypatch, path, 4711)
    before = submit.snapshot()
    said = submit.run(code=1)
    assert f"the link {path} belongs to uid 4711, who could exchange what is written there" in said
    assert submit.snapshot() == before


def test_links_of_root_are_followed(submit: Host) -> None:
    """Sites move directories and files with them; the link itself stays."""
    submit.path("spool").rmdir()
    submit.directory("data/spool")
    submit.directory("conf")
    real = submit.give("conf/torque.cfg", "A 1\n")
    submit.path("spool").symlink_to("data/../data/spool")
    submit.path("data/spool/torque.cfg").symlink_to(real)
    before = submit.snapshot()
    submit.run()
    assert real.read_text() == f"{submit.line}\nA 1\n"
    submit.run("--uninstall")
    assert submit.snapshot() == before


@pytest.mark.parametrize("mode", [0o777, 0o757])
def test_directories_that_others_can_write_are_refused(submit: Host, mode: int) -> None:
    """Whoever can rename in it can put a link there between two looks."""
    submit.path("modules").chmod(mode)
    said = submit.run(code=1)
    assert f"{submit.path('modules')} can be written by others (mode {mode:04o}); chmod go-w" in said


@pytest.mark.parametrize("kind", ["fifo", "directory", "circle"])
def test_what_is_no_file_is_not_taken_for_one(submit: Host, kind: str) -> None:
    """A FIFO would hold the command for ever."""
    if kind == "fifo":
        os.mkfifo(submit.config)
    elif kind == "directory":
        submit.config.mkdir()
    else:
        submit.config.symlink_to("torque.cfg")
    said = submit.run(code=1)
    sentence = {
        "fifo": "is not a regular file",
        "directory": "Is a directory",
        "circle": "leads over too many links",
    }
    assert sentence[kind] in said


@pytest.mark.parametrize(
    ("number", "sentence"),
    [(errno.EACCES, "Permission denied; run this as root\n"), (errno.ENOSPC, "No space left on device\n")],
)
def test_what_cannot_be_written_stays_as_it_was(
    submit: Host, number: int, sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line names the file; no part of a new one is left, and the command can be repeated."""
    submit.give("spool/torque.cfg", "A 1\n")

    class Failing(io.FileIO):
        def write(self, _content: object) -> int:
            raise OSError(number, os.strerror(number))

    with monkeypatch.context() as failing:
        failing.setattr(os, "geteuid", lambda: 1000)
        failing.setattr(ground, "_check", lambda *_args, **_parameters: None)
        failing.setattr(execution, "open", Failing, raising=False)
        said = submit.run(code=1)
    assert said == f"torque-vm: cannot write {submit.path('opt/installed.json')}: {sentence}"
    assert list(submit.path("opt").iterdir()) == []
    assert submit.config.read_text() == "A 1\n"
    submit.run()


def test_a_damaged_list_of_what_was_installed_is_said(submit: Host) -> None:
    """Better than to guess what is ours."""
    submit.run()
    manifest = submit.path("opt/installed.json")
    whole = manifest.read_text()
    for text, sentence in (
        (whole[:-9], "the list of what was installed, is damaged"),
        ("[]", "the list of what was installed, is damaged"),
        (whole.replace('"version": 1', '"version": 2'), "was written by another version of torque-vm"),
    ):
        manifest.write_text(text)
        assert sentence in submit.run("--uninstall", code=1)
        assert sentence in submit.run(code=1)


def test_a_host_without_a_module_system_is_told_what_to_do(
    submit: Host, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The module files are there all the same; where there is one they go into its directories."""
    words = ["install", "submit-host", "--prefix", f"{submit.root}/opt", "--etc", f"{submit.root}/etc",
             "--torque-home", f"{submit.root}/spool"]  # fmt: skip
    monkeypatch.setattr(host, "SITE_MODULES", ())
    monkeypatch.setattr(host, "SHARED_MODULES", ())
    assert outcome(words) == 0
    assert f"users say 'module use {submit.root}/opt/modulefiles'" in capsys.readouterr().err
    assert submit.path("opt/modulefiles/torque-vm").is_file()
    monkeypatch.setattr(
        host, "SHARED_MODULES", ("/nonexistent", str(submit.path("modules")), str(submit.root))
    )
    assert outcome(words) == 0
    assert submit.path("modules/torque-vm").is_file()
    assert not submit.path("opt/modulefiles").exists()
    monkeypatch.setattr(host, "SITE_MODULES", (str(submit.directory("a")), str(submit.directory("b"))))
    assert outcome(words) == 0
    assert submit.path("a/torque-vm").is_file()
    assert submit.path("b/torque-vm.lua").is_file()


def test_a_place_that_users_cannot_enter_is_said(submit: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """The filter runs as the user who submits."""
    real = ground._status

    def status(name: str) -> os.stat_result | None:
        found = real(name)
        if found is None or name.startswith(str(submit.root)):
            return found
        return os.stat_result((0o040755, *found[1:]))  # the directories that pytest makes are closed

    monkeypatch.setattr(ground, "_status", status)
    submit.root.chmod(0o711)
    assert "users cannot enter" not in submit.run()
    submit.root.chmod(0o700)
    assert f"users cannot enter {submit.root}, so no job can be submitted: chmod o+x" in submit.run()


def test_the_command_needs_nothing_but_click() -> None:
    """A submit host has no libvirt, Nornir or Jinja."""
    code = (
        "import sys; from nornir_torque_vm.cli.app import outcome\n"
        "outcome(['install', 'submit-host', '--dry-run', '--torque-home', '/nonexistent'])\n"
        "print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert "click" in loaded
    assert loaded & {"nornir", "libvirt", "paramiko", "netmiko", "rich", "jinja2", "cryptography"} == set()


def test_a_host_without_click_is_told_how_to_get_it() -> None:
    """``pip install nornir-torque-vm`` alone brings what the wrapper needs, not the command."""
    code = "import sys; sys.modules['click'] = None; from nornir_torque_vm.cli import main; main()"
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == "torque-vm: this command needs click: pip install 'nornir-torque-vm[submit]'\n"


def test_every_verb_is_said_in_the_same_word_everywhere() -> None:
    """The table's words are those of the documentation."""
    assert {verb.value for verb in Verb} == {
        "make", "create", "update", "edit", "compile", "restore", "remove", "keep",
    }  # fmt: skip
