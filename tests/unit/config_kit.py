"""A host as the settings say it should be, below a directory."""

from __future__ import annotations

from pathlib import Path

from qcow2_bytes import image_bytes

from nornir_torque_vm.config.check import Finding, Level
from nornir_torque_vm.config.settings import Settings
from nornir_torque_vm.hostcheck import check_host
from nornir_torque_vm.render import templates


def forget_templates() -> None:
    """Templates are compiled once for a process."""
    templates.compiled.cache_clear()
    templates.environment.cache_clear()


class Host:
    """A host below a directory: pool, MOM and qsub as they should be."""

    def __init__(self, root: Path) -> None:
        self.pool, self.torque, self.own = root / "pool", root / "torque", root / "templates"
        self.qsub, self.filter = root / "qsub", root / "filter"
        for directory in (self.pool, self.torque / "mom_priv", self.own):
            directory.mkdir(parents=True)
        self.image = self.pool / "debian.qcow2"
        self.image.write_bytes(image_bytes())
        self.mom = self.torque / "mom_priv" / "config"
        self.mom.write_text("$pbsserver head\n$prologalarm 300\n")
        for program in (self.qsub, self.filter):
            program.write_text("#!/bin/sh\n")
            program.chmod(0o755)
        self.values: dict[str, object] = {
            "image_pool": str(self.pool), "img_default": "debian.qcow2", "torque_home": str(self.torque),
            "real_qsub_on_nodes": str(self.qsub), "real_qsub_on_server": str(self.qsub),
        }  # fmt: skip

    def settings(self, **values: object) -> Settings:
        """The settings of this host, with these other values."""
        return Settings(**{**self.values, **values})  # type: ignore[arg-type]

    def findings(self, **values: object) -> dict[str, Finding]:
        """What is found, by subject; of several about one subject the last."""
        return {found.subject: found for found in check_host(self.settings(**values), "node1.site")}

    def one(self, subject: str, level: Level | None = None, **values: object) -> tuple[Level, str]:
        """Level and words of the finding about a subject, or of the one with this level."""
        findings = [
            found for found in check_host(self.settings(**values), "node1.site") if found.subject == subject
        ]
        found = next(one for one in findings if level in {None, one.level})
        assert "\n" not in str(found)
        return found.level, f"{found.text}; {found.cure}" if found.cure else found.text
