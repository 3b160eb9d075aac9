"""``torque-vm install node``: what it puts where, and that it takes exactly that away again."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from node_kit import CONFIG, NodeHost, host

from nornir_torque_vm.cli import install_node
from nornir_torque_vm.config.settings import Settings
from nornir_torque_vm.deadline import Deadline
from nornir_torque_vm.errors import InstallError
from nornir_torque_vm.hooks.momconfig import node_check, require_starter
from nornir_torque_vm.install import execution, mom, node_site
from nornir_torque_vm.install.model import Edit
from nornir_torque_vm.install.node import METRICS, METRICS_TIMER, TIMER, NodePlaces, NodeSite, name_starter
from nornir_torque_vm.sitekit import HOOKS, hook_text, unit_names

__all__ = ["host"]
USERS = ("prologue.user.vm", "site_hook")
"""Hooks that run as the job's owner."""


class TestInstalling:
    def test_the_hooks_are_as_a_mom_takes_them(self, host: NodeHost) -> None:
        """In mom_priv: root's alone but for what runs as the job's owner; this host's values in them."""
        host.run()
        for name, mode in HOOKS.items():
            assert host.mode(f"spool/mom_priv/{name}") == mode == (0o500, 0o555)[name in USERS]
            text = host.path(f"spool/mom_priv/{name}").read_text()
            assert text == hook_text(name, run_dir=str(host.path("run/torque-vm")))
        assert f"PYTHON={sys.executable}\n" in host.path("spool/mom_priv/prologue.vm").read_text()

    def test_the_mom_is_told_of_the_job_starter(self, host: NodeHost) -> None:
        """Which everybody may execute; the other lines are as they were."""
        host.run()
        assert host.config.read_text() == f"{host.line}\n{CONFIG}"
        assert host.mode("opt/hooks/job_starter") == 0o555
        require_starter(str(host.path("spool")))

    def test_the_node_check_is_there_and_the_mom_is_told_of_it_only_if_asked(self, host: NodeHost) -> None:
        """It costs a process at each report, and most sites give root of the nodes the operator right."""
        check = host.path("opt/hooks/node_check")
        host.run()
        assert "$node_check" not in host.config.read_text()
        assert f"RUN_DIR={host.path('run/torque-vm')}\n" in check.read_text()
        assert host.mode("opt/hooks/node_check") == 0o500
        assert not node_check(str(host.path("spool")))
        host.run("--node-check")
        assert f"$node_check_script {check}\n" in host.config.read_text()
        assert node_check(str(host.path("spool")))
        assert host.run("--node-check").startswith("nothing to do\n")
        host.run("--uninstall")
        assert host.config.read_text() == CONFIG
        assert not check.exists()

    def test_a_node_check_of_the_sites_own_stays(self, host: NodeHost) -> None:
        """It can call ours; a MOM takes one."""
        own = host.give("etc/own_check", "#!/bin/sh\n", 0o755)
        host.config.write_text(f"{CONFIG}$node_check_script {own}\n")
        ours = host.path("opt/hooks/node_check")
        assert f"let {own} end with a call of {ours}" in host.run("--node-check")
        assert host.config.read_text() == f"{host.line}\n{CONFIG}$node_check_script {own}\n"
        own.write_text(f"#!/bin/sh\nexec {ours}\n")
        assert "let " not in host.run("--node-check")
        assert node_check(str(host.path("spool")))

    def test_login_shells_are_those_of_the_moms_configuration(self, host: NodeHost) -> None:
        """The starter does what the MOM would do without one; a change there needs another run."""
        host.run()
        assert "my $LOGIN_BATCH = '1';" in host.path("opt/hooks/job_starter").read_text()
        host.config.write_text(host.config.read_text() + "$source_login_batch false\n")
        assert f"update  {host.path('opt/hooks/job_starter')}" in host.run()
        assert "my $LOGIN_BATCH = '0';" in host.path("opt/hooks/job_starter").read_text()

    def test_directories_have_the_modes_that_jobs_give_them(self, host: NodeHost) -> None:
        """The job starter, which is the user, passes through to markers and hand-overs; history is root's."""
        host.run()
        names = ("run/torque-vm", "run/torque-vm/markers", "run/torque-vm/handover", "var/volumes")
        assert {host.mode(name) for name in names} == {0o711}
        private = ("run/torque-vm/jobs", "run/torque-vm/locks", "var/history")
        assert {host.mode(name) for name in private} == {0o700}

    def test_systemd_gets_the_units_of_the_kit(self, host: NodeHost) -> None:
        """Enabling them is the administrator's, or asked for."""
        said = host.run()
        assert {path.name for path in host.path("units").iterdir()} == {
            TIMER,
            TIMER.replace("timer", "service"),
        }
        assert ("enable --now" in said) == bool(unit_names())

    def test_the_metrics_timer_comes_and_goes_with_the_setting(
        self, host: NodeHost, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Stopped before its file goes, by the next run or with the role."""
        told: list[tuple[str, str]] = []
        monkeypatch.setattr(
            install_node, "switch_timer", lambda places, verb, timer: told.append((verb, timer))
        )
        units = {f"{METRICS}.service", METRICS_TIMER}
        host.settings_text(snap_monitoring_enabled="true")
        assert f"systemctl enable --now {METRICS_TIMER}" in host.run()
        assert units < {path.name for path in host.path("units").iterdir()}
        host.run("--enable")
        assert told == [("enable", TIMER), ("enable", METRICS_TIMER)]
        host.settings_text()
        host.run()
        assert told[2:] == [("disable", METRICS_TIMER)]
        assert units.isdisjoint(path.name for path in host.path("units").iterdir())
        host.settings_text(snap_monitoring_enabled="true")
        host.run()
        host.run("--uninstall")
        assert sorted(told[3:]) == [("disable", METRICS_TIMER), ("disable", TIMER)]

    def test_where_systemd_does_not_run_there_are_none(
        self, host: NodeHost, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Unless a directory is named, as for the image of a node."""
        monkeypatch.setattr(node_site, "SYSTEMD", "/nonexistent")
        host.run()
        assert list(host.path("units").iterdir()) == []
        host.run("--units", str(host.path("etc")))
        assert TIMER in {path.name for path in host.path("etc").iterdir()}

    def test_a_disk_that_cannot_be_written_is_one_sentence(
        self, host: NodeHost, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Not what came of cleaning up."""

        def refuse(*_: object, **__: object) -> int:
            raise OSError(errno.EROFS, "Read-only file system")

        monkeypatch.setattr(os, "open", refuse)
        monkeypatch.setattr(Path, "unlink", refuse)
        with pytest.raises(InstallError, match=r"cannot write .*: Read-only file system"):
            execution.write(str(host.path("x")), b"", 0o644)

    def test_the_same_run_again_has_nothing_to_do(self, host: NodeHost) -> None:
        """It does not even write a file anew."""
        host.run()
        before = {path: path.stat().st_mtime_ns for path in host.root.rglob("*")}
        assert host.run().startswith("nothing to do\n")
        assert {path: path.stat().st_mtime_ns for path in host.root.rglob("*")} == before

    def test_a_dry_run_shows_the_same_table_and_does_nothing(self, host: NodeHost) -> None:
        """The table names every file, and the line that goes into the MOM's configuration."""
        before = host.snapshot()
        dry = host.run("--dry-run")
        assert host.snapshot() == before
        assert f"edit    {host.config}" in dry
        assert host.line in dry
        assert host.run() == dry

    def test_a_mode_that_was_changed_is_put_right(self, host: NodeHost) -> None:
        """A MOM requeues a job for ever whose hook others may write."""
        host.run()
        host.path("spool/mom_priv/prologue.vm").chmod(0o777)
        assert f"update  {host.path('spool/mom_priv/prologue.vm')}" in host.run()
        assert host.mode("spool/mom_priv/prologue.vm") == 0o500

    def test_a_sample_of_the_settings_says_where_torque_is(self, host: NodeHost) -> None:
        """Hooks read it there; an existing file that says something else is the site's to change."""
        host.path("etc/settings.toml").unlink()
        settings, sample = node_site.read_settings(str(host.path("etc")), "/opt/spool")
        assert settings.torque_home == "/opt/spool"
        assert b'\ntorque_home = "/opt/spool"\n' in sample
        host.settings_text()
        said = host.run("--torque-home", "/opt/spool", code=1)
        assert f"says that TORQUE's directory is {host.path('spool')}, which hooks believe" in said
        assert 'write torque_home = "/opt/spool" there' in said


class TestSite:
    def test_a_job_starter_of_the_site_is_not_overwritten(self, host: NodeHost) -> None:
        """One sentence says what to do; nothing is touched."""
        host.config.write_text(f"{CONFIG}$job_starter /site/starter\n")
        before = host.snapshot()
        said = host.run(code=1)
        assert f"{host.config} names a job starter of its own, /site/starter; only one can start jobs" in said
        assert host.snapshot() == before

    def test_the_starter_of_another_installation_is_named_as_such(self, host: NodeHost) -> None:
        """Which can be taken away first."""
        host.run()
        other = host.path("other")
        said = host.run("--prefix", str(other), code=1)
        assert f"names another installation of ours, {host.path('opt/hooks/job_starter')}" in said

    def test_a_line_of_the_site_that_names_ours_is_enough(self, host: NodeHost) -> None:
        """Written by hand or deployed with the rest of the file."""
        text = f"{CONFIG}{host.line}\n"
        host.config.write_text(text)
        host.run()
        assert host.config.read_text() == text

    def test_a_hook_of_the_site_in_our_place_is_not_overwritten(self, host: NodeHost) -> None:
        """Those of other names are none of our business."""
        for name in ("prologue", "epilogue.user", "prologue.site"):
            host.give(f"spool/mom_priv/{name}", "#!/bin/sh\n", 0o500)
        host.give("spool/mom_priv/prologue.vm", "#!/bin/sh\n", 0o500)
        before = host.snapshot()
        said = host.run(code=1)
        assert f"{host.path('spool/mom_priv/prologue.vm')} is there and not from this command" in said
        assert host.snapshot() == before

    def test_no_mom_is_said(self, host: NodeHost) -> None:
        """With what to do."""
        host.settings_text(torque_home=host.path("nowhere"))
        assert "there is no pbs_mom here" in host.run(code=1)

    def test_a_prefix_that_a_configuration_cannot_name_is_refused(self, host: NodeHost) -> None:
        """A MOM's lines are words without quotes."""
        assert "a MOM cannot be told of" in host.run("--prefix", str(host.path("my opt")), code=1)

    def test_a_starter_that_would_break_plain_jobs_is_not_installed(
        self, host: NodeHost, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It is tried before anything is done."""
        monkeypatch.setattr(node_site, "why_not", lambda path: f"the job starter {path} hangs")
        monkeypatch.setattr(node_site, "try_starter", REAL_TRY)
        before = host.snapshot()
        assert "the job starter that was to be installed hangs" in host.run(code=1)
        assert host.snapshot() == before

    def test_the_shipped_starter_starts_plain_jobs(self, host: NodeHost) -> None:
        """On this machine, with its perl."""
        host.run()
        REAL_TRY(host.path("opt/hooks/job_starter").read_bytes())


REAL_TRY = node_site.try_starter


class TestUninstalling:
    @pytest.mark.parametrize(
        "config", [CONFIG, "", None, "$pbsserver head", "# $job_starter /old\n\xff\n"], ids=repr
    )
    def test_it_leaves_the_node_as_it_was(self, host: NodeHost, config: str | None) -> None:
        """Byte for byte, modes and directories too."""
        if config is None:
            host.config.unlink()
        else:
            host.config.write_text(config)
            host.config.chmod(0o640)
        host.give("spool/mom_priv/prologue", "#!/bin/sh\n", 0o500)
        before = host.snapshot()
        host.run()
        assert host.snapshot() != before
        host.run("--uninstall")
        assert host.snapshot() == before
        assert host.run("--uninstall") == "nothing to do\n"

    def test_what_jobs_left_in_the_history_stays(self, host: NodeHost) -> None:
        """It is the site's, and its directory with it."""
        host.run()
        kept = host.give("var/history/17.head.1/plan.json", "{}")
        host.run("--uninstall")
        assert kept.exists()
        assert not host.path("run").exists()
        assert not host.path("var/volumes").exists()

    def test_a_job_in_guests_keeps_everything(self, host: NodeHost) -> None:
        """Nobody would remove its guests."""
        host.run()
        host.give("run/torque-vm/markers/17.head", "")
        before = host.snapshot()
        assert "job 17.head run in guests here" in host.run("--uninstall", code=1)
        assert host.snapshot() == before

    def test_a_line_in_other_words_keeps_the_starter(self, host: NodeHost) -> None:
        """Every job of the node would fail without it."""
        host.run()
        host.config.write_text(f"{CONFIG}  {host.line}\n")
        said = host.run("--uninstall", code=1)
        assert "names the job starter that is to go, in a line that is not the one we wrote" in said
        assert host.path("opt/hooks/job_starter").exists()


class TestRoles:
    def test_a_node_that_is_a_submit_host_keeps_what_the_other_role_needs(self, host: NodeHost) -> None:
        """One list below the prefix; what is of both goes with the last."""
        host.run()
        common = (
            "--prefix", f"{host.root}/opt", "--torque-home", f"{host.root}/spool",
            "--etc", f"{host.root}/etc", "--modulefiles", f"{host.root}/var",
        )  # fmt: skip
        host.run(*common, role="submit-host")
        assert host.path("run/torque-vm/jobs").is_dir()
        assert host.run().startswith("nothing to do\n")
        assert host.run(*common, role="submit-host").startswith("nothing to do\n")
        host.run("--uninstall")
        assert not host.path("run").exists()
        assert host.path("opt/wrapper/qsub").exists()
        assert host.config.read_text() == CONFIG
        host.run(*common, "--uninstall", role="submit-host")
        assert not host.path("opt").exists()


LINES = st.lists(
    st.sampled_from([b"$pbsserver head", b"", b"# $job_starter /old", b"$usecp *:/home /home", b"\xff\t \r"]),
    max_size=5,
).map(b"\n".join)


@given(LINES, st.booleans())
def test_the_line_comes_and_goes_without_a_trace(config: bytes, newline: bool) -> None:
    """Whatever a MOM's configuration holds: the other lines are kept byte for byte."""
    text = config + b"\n" * newline
    edit = name_starter(NodePlaces(), NodeSite(text, Settings()))
    assert isinstance(edit, Edit)
    after = edit.applied(text)
    assert name_starter(NodePlaces(), NodeSite(after, Settings())) is None
    assert edit.undone(after) == text


class Mom:
    """A process that is called pbs_mom and logs what a SIGHUP makes one log."""

    def __init__(self, spool: Path, *, says: bool = True) -> None:
        program = spool.parent / "pbs_mom"
        program.write_text(
            f"#!{sys.executable} -IS\nimport signal, sys\n"
            "def hup(*_):\n"
            f"    print('x;0002;   pbs_mom.1;Svr;{'process_hup' if says else 'other'};reset', "
            f"file=open({str(spool / 'mom_logs/20261122')!r}, 'a'))\n"
            "signal.signal(signal.SIGHUP, hup)\n"
            "print('ready', flush=True)\n"
            "while True: signal.pause()\n"
        )
        program.chmod(0o755)
        (spool / "mom_logs").mkdir(exist_ok=True)
        (spool / "mom_logs/20261122").write_text("x;0002;   pbs_mom.1;Svr;process_hup;reset\n")
        self.process = subprocess.Popen([str(program)], stdout=subprocess.PIPE)
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == b"ready\n"
        self.process.stdout.close()
        (spool / "mom_priv/mom.lock").write_text(f"{self.process.pid}\n\0")


@pytest.fixture
def running(host: NodeHost) -> Iterator[Mom]:
    """A MOM that runs on the node."""
    mom_process = Mom(host.path("spool"))
    yield mom_process
    mom_process.process.kill()
    mom_process.process.wait()


class TestMom:
    def test_a_sighup_is_printed_unless_it_is_asked_for(self, host: NodeHost, running: Mom) -> None:
        """It makes jobs start differently: that is the administrator's word."""
        log = host.path("spool/mom_logs/20261122")
        assert f"kill -HUP {running.process.pid}" in host.run()
        assert log.read_text().count("process_hup") == 1
        assert "kill -HUP" not in host.run("--reload")
        assert log.read_text().count("process_hup") == 2

    def test_a_running_mom_forgets_the_starter_before_it_goes(
        self, host: NodeHost, running: Mom, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Without --reload nothing is taken away: every job would fail."""
        host.run("--reload")
        before = host.snapshot()
        said = host.run("--uninstall", code=1)
        assert "pbs_mom runs, and every job would fail whose starter has gone; say --reload" in said
        assert host.snapshot() == before
        seen = []

        def reload(home: str, deadline: Deadline | None = None) -> None:
            seen.append((host.config.read_text(), host.path("opt/hooks/job_starter").exists()))

        monkeypatch.setattr(mom, "reload", reload)
        host.run("--uninstall", "--reload")
        assert seen == [(CONFIG, True)]
        assert not host.path("opt").exists()

    def test_one_that_does_not_read_its_configuration_is_said(self, host: NodeHost) -> None:
        """Its log is the proof; old lines in it are none."""
        silent = Mom(host.path("spool"), says=False)
        try:
            with pytest.raises(InstallError, match=r"does not say in .* that it has read its configuration"):
                mom.reload(str(host.path("spool")), Deadline.after(0.5))
        finally:
            silent.process.kill()
            silent.process.wait()

    @pytest.mark.parametrize("text", ["", "no number", "1", "this process", "999999999"])
    def test_a_lock_file_without_a_mom_is_no_mom(self, host: NodeHost, text: str) -> None:
        """The process has to be one: numbers are used again."""
        host.give("spool/mom_priv/mom.lock", text.replace("this process", str(os.getpid())))
        assert mom.running(str(host.path("spool"))) is None
        mom.reload(str(host.path("spool")))


@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=LINES)
def test_installing_twice_and_taking_away_is_as_if_nothing_had_been(host: NodeHost, text: bytes) -> None:
    """On a disk, whatever the MOM's configuration holds."""
    host.config.write_bytes(text)
    before = host.snapshot()
    host.run()
    host.run()
    host.run("--uninstall")
    assert host.snapshot() == before
