"""A node below a directory, with a MOM's files, and ``torque-vm install node`` on it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from nornir_torque_vm.cli import install_node
from nornir_torque_vm.cli.app import outcome
from nornir_torque_vm.install import node_site

Snapshot = dict[str, tuple[int, bytes | str | None]]
CONFIG = "$pbsserver head\n$prologalarm 300\n"
TLS = "qemu+tls://{node}/system?pkipath="


@dataclasses.dataclass
class NodeHost:
    """A node below a directory, and the command on it."""

    root: Path
    capsys: pytest.CaptureFixture[str]

    def __post_init__(self) -> None:
        for name in ("spool", "spool/mom_priv", "etc", "units", "var"):
            self.directory(name)
        self.settings_text()
        self.give("spool/mom_priv/config", CONFIG)

    def settings_text(self, **more: object) -> None:
        """Have settings that keep everything below the root."""
        values = {
            "torque_home": self.path("spool"),
            "run_dir": self.path("run/torque-vm"),
            "volume_dir": self.path("var/volumes"),
            "history_dir": self.path("var/history"),
            **more,
        }
        self.give("etc/settings.toml", "".join(f'{name} = "{value}"\n' for name, value in values.items()))

    def directory(self, name: str, mode: int = 0o755) -> Path:
        path = self.root / name
        path.mkdir(parents=True, exist_ok=True)
        path.chmod(mode)
        return path

    def path(self, name: str) -> Path:
        return self.root / name

    def give(self, name: str, content: bytes | str, mode: int = 0o644) -> Path:
        """Put a file of the site's own there."""
        path = self.root / name
        if not path.parent.is_dir():
            self.directory(str(path.parent.relative_to(self.root)))
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        path.chmod(mode)
        return path

    def run(self, *words: str, code: int = 0, role: str = "node") -> str:
        """Run the command; return what it printed, the sentences on stderr behind the table."""
        self.capsys.readouterr()
        places: tuple[str, ...] = ()
        if role == "node":
            places = (
                "--prefix", str(self.path("opt")), "--authorized-keys", str(self.path("root/authorized_keys"))
            )  # fmt: skip
        assert outcome(["install", role, *places, *words]) == code
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

    def mode(self, name: str) -> int:
        """Permission bits."""
        return self.path(name).stat().st_mode & 0o7777

    @property
    def config(self) -> Path:
        return self.path("spool/mom_priv/config")

    @property
    def line(self) -> str:
        return f"$job_starter {self.root}/opt/hooks/job_starter"


@pytest.fixture
def host(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> NodeHost:
    """A node with a MOM, below the test's directory."""
    monkeypatch.setattr(node_site, "ETC", str(tmp_path / "etc"))
    monkeypatch.setattr(node_site, "UNITS", str(tmp_path / "units"))
    monkeypatch.setattr(node_site, "SYSTEMD", str(tmp_path / "units"))
    monkeypatch.setattr(install_node, "switch_timer", lambda places, verb, timer: None)
    monkeypatch.setattr(node_site, "try_starter", lambda text: None)
    return NodeHost(tmp_path, capsys)
