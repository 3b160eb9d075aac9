"""The ``torque-vm`` command on a site of test-driver nodes."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from typing import Any

import pytest
from hook_kit import Site, ready

from nornir_torque_vm.cli.app import outcome
from nornir_torque_vm.engine import Engine


@dataclasses.dataclass
class Said:
    """What a command answered."""

    code: int
    out: str
    err: str

    @property
    def rows(self) -> list[list[str]]:
        """The table, without its headline."""
        return [line.split() for line in self.out.splitlines()[1:]]

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Run = Callable[..., Said]


@pytest.fixture
def run(site: Site, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs ``torque-vm`` with the site's settings; guests are healthy as soon as they have an address."""
    monkeypatch.setenv("TORQUE_VM_SETTINGS", str(site.settings_file))
    monkeypatch.delenv("PBS_NODEFILE", raising=False)
    probed(monkeypatch, ready)

    def run(*words: str) -> Said:
        capsys.readouterr()
        code = outcome([words[0], "--quiet", *words[1:]])
        said = capsys.readouterr()
        return Said(code, said.out, said.err)

    return run


BOTH = ("node1", "node2")


def boot(run: Run, *more: str, job: str = "5.adhoc") -> Said:
    return run("boot", *BOTH, "-vm", "ram=64M", "--job", job, *more)


def probed(monkeypatch: pytest.MonkeyPatch, probe: Callable[[Any], bool]) -> None:
    """Make ``probe`` say when a guest is ready."""
    boot = Engine.boot

    def probing(*args: Any, **parameters: Any) -> Any:
        return boot(*args, **{"probe": probe, **parameters})

    monkeypatch.setattr(Engine, "boot", probing)
