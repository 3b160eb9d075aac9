"""Whether this node's pbs_mom starts jobs with our job starter."""

from __future__ import annotations

from pathlib import Path

import pytest

from nornir_torque_vm.errors import Blame, SettingsError
from nornir_torque_vm.hooks.momconfig import job_starter, require_starter
from nornir_torque_vm.sitekit import kit_file


def home(folder: Path, config: str | None) -> str:
    (folder / "mom_priv").mkdir()
    if config is not None:
        (folder / "mom_priv/config").write_text(config, encoding="utf-8")
    return str(folder)


def refusal(torque_home: str) -> str:
    with pytest.raises(SettingsError) as caught:
        require_starter(torque_home)
    assert caught.value.blame is Blame.SITE
    return str(caught.value)


def test_our_own_starter_is_recognized(tmp_path: Path) -> None:
    """The file of the site kit, under whatever name."""
    require_starter(
        home(tmp_path, f"$pbsserver head\n  $job_starter\t{kit_file('hooks', 'job_starter')}  \n")
    )


NO_STARTER = "$job_starter_run_privileged true\n"


@pytest.mark.parametrize(
    "config", [None, "", "$pbsserver head\n", "# $job_starter /x\n", "$job_starter\n", NO_STARTER]
)
def test_a_mom_without_a_starter_says_what_to_do(tmp_path: Path, config: str | None) -> None:
    """One line with the file's name in it."""
    assert refusal(home(tmp_path, config)) == (
        "pbs_mom of this node has no job starter; install the job starter and name it in "
        f"{tmp_path}/mom_priv/config: $job_starter PATH, then send pbs_mom a SIGHUP"
    )


def test_a_sites_own_starter_is_not_ours(tmp_path: Path) -> None:
    """Nor is one that is missing, or a directory."""
    other = tmp_path / "other"
    other.write_text('exec "$@"\n')
    folder = home(tmp_path, f"$job_starter {other}\n")
    for path in (str(other), "/nonexistent", "/tmp"):
        (tmp_path / "mom_priv/config").write_text(f"$job_starter {path}\n")
        assert refusal(folder).startswith(f"the job starter of this node, {path}, is not ours; ")


def test_the_last_line_counts() -> None:
    """A MOM reads its configuration line by line."""
    assert job_starter("$job_starter /a\n$job_starter /b\n") == "/b"


def test_a_configuration_that_cannot_be_read_says_why(tmp_path: Path) -> None:
    """A loop of links."""
    (tmp_path / "mom_priv").mkdir()
    (tmp_path / "mom_priv/config").symlink_to("config")
    assert "Too many levels of symbolic links" in refusal(str(tmp_path))
