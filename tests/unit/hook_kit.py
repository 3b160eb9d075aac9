"""A site in a directory, for hooks and commands: settings, image, nodefile, test-driver nodes."""

from __future__ import annotations

import dataclasses
import json
import os
import pwd
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import libvirt
import pytest
from qcow2_bytes import image_bytes
from task_kit import libvirt_error

from nornir_torque_vm.config.settings import Settings
from nornir_torque_vm.connections.pool import Link
from nornir_torque_vm.connections.virconnect import pool
from nornir_torque_vm.deadline import Deadline
from nornir_torque_vm.hooks.arguments import HookCall
from nornir_torque_vm.hooks.epilogue import Epilogue
from nornir_torque_vm.hooks.prologue import Prologue
from nornir_torque_vm.report import Report
from nornir_torque_vm.tasks.check_health import Probe

NODE_XML = "<node><cpu><active>16</active></cpu><memory>16777216</memory></node>"
USER = pwd.getpwuid(os.geteuid())
"""Jobs belong to whoever runs the tests, so that files can be given to their owner without root."""
JOB = "17.head"


def ready(_host: Any) -> bool:
    """A probe for guests that cannot run anything."""
    return True


class Site:
    """Nodes, settings and one job, with everything below ``folder``.

    Each node keeps what was started on it until the site is closed.
    """

    def __init__(self, folder: Path, nodes: Sequence[str] = ("node1", "node2"), **settings: Any) -> None:
        self.folder, self.nodes = folder, tuple(nodes)
        values = {
            "local_uri": f"test://{folder}/here.xml",
            "node_uri": f"test://{folder}/{{node}}.xml",
            "image_pool": str(folder / "pool"),
            "img_default": "micro.qcow2",
            "volume_dir": str(folder / "volumes"),
            "run_dir": str(folder / "run"),
            "history_dir": str(folder / "log"),
            "torque_home": str(folder / "torque"),
            "real_qsub_on_nodes": str(folder / "bin/qsub"),
            "requeue_pause": 0,
            "timeout": 20.0,
            "teardown_margin": 5.0,
            **settings,
        }
        self.settings = Settings(**values)
        self.settings_file = folder / "settings.toml"
        self.settings_file.write_text("".join(f"{name} = {json.dumps(v)}\n" for name, v in values.items()))
        (folder / "torque/mom_priv").mkdir(parents=True)
        (folder / "torque/mom_priv/job_starter").write_text("# nornir_torque_vm.hooks.job_starter\n")
        self.configure_mom(f"$job_starter {folder}/torque/mom_priv/job_starter")
        (folder / "bin").mkdir()
        for name in ("qstat", "pbsnodes"):  # else this machine's own would be asked
            (folder / "bin" / name).write_text(f"#!/bin/sh\necho '{name}: no server here' >&2\nexit 1\n")
            (folder / "bin" / name).chmod(0o755)
        (folder / "pool").mkdir()
        (folder / "pool/micro.qcow2").write_bytes(image_bytes())
        self._links: dict[str, Link[str, Any]] = {}
        for node in self.nodes:
            (folder / f"{node}.xml").write_text(NODE_XML)
            self.connect(node)
        self.nodefile = folder / "nodefile"
        self.nodefile.write_text("".join(f"{node}\n" for node in self.nodes))

    def configure_mom(self, *lines: str) -> None:
        """Write the configuration of the mother superior's MOM."""
        config = Path(self.settings.torque_home, "mom_priv/config")
        config.write_text("".join(f"{line}\n" for line in ("$pbsserver head", *lines)))

    def connect(self, node: str) -> Any:
        """The virConnect of a node, for looking and meddling."""
        if node not in self._links:
            self._links[node] = pool.acquire(self.settings.node_uri.replace("{node}", node), 1)
        return self._links[node].wait(0)

    def close(self) -> None:
        """Let go of the nodes, which ends what runs on them."""
        for link in self._links.values():
            pool.release(link)

    def call(self, request: str = "ram=64M", **changes: str) -> HookCall:
        """What TORQUE would say of a job with that encoded request; empty for none."""
        other = f"other=vm1:{request}," if request else ""
        call = HookCall(
            JOB, USER.pw_name, "users", "job.sh", f"nodes=2:ppn=2,{other}walltime=01:00:00,neednodes=2:ppn=2",
            "batch", "", str(self.nodefile), self.nodes[0],
        )  # fmt: skip
        return dataclasses.replace(call, **changes)

    def prologue(self, call: HookCall | None = None, probe: Probe = ready, seconds: float = 20.0) -> Report:
        """Run the prologue in this process."""
        deadline = Deadline.after(seconds)
        return Prologue(call or self.call(), self.settings, deadline, probe=probe).run()

    def epilogue(self, call: HookCall | None = None, seconds: float = 20.0) -> Report:
        """Run the epilogue in this process."""
        return Epilogue(call or self.call(), self.settings, Deadline.after(seconds)).run()

    def domains(self) -> list[str]:
        """Names of the domains on all nodes."""
        return sorted(domain.name() for node in self.nodes for domain in self.connect(node).listAllDomains())

    def volumes(self) -> list[str]:
        """Names of the guests' files on all nodes."""
        return sorted(path.name for path in Path(self.settings.volume_dir).glob("*/*"))

    def run_state(self) -> list[str]:
        """Files of the run directory, relative to it."""
        root = Path(self.settings.run_dir)
        return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())

    def left(self) -> list[str]:
        """Everything jobs could have left behind."""
        return self.domains() + self.volumes() + self.run_state()

    def history(self, name: str, attempt: int = 1, job_id: str = JOB) -> Any:
        """One of the files of the job's history."""
        path = Path(self.settings.history_dir, f"{job_id}.{attempt}", name)
        text = path.read_text(encoding="utf-8")
        return (
            json.loads(text) if path.suffix == ".json" else [json.loads(line) for line in text.splitlines()]
        )


def cut_off(monkeypatch: pytest.MonkeyPatch, node: str) -> None:
    """From now on, that node's libvirtd does not answer."""
    for name in ("getCapabilities", "getAllDomainStats"):
        real = getattr(libvirt.virConnect, name)

        def call(self: Any, *args: Any, real: Any = real) -> Any:
            if f"/{node}.xml" in self.getURI():
                raise libvirt_error(39, "Cannot recv data: Connection reset by peer")
            return real(self, *args)

        monkeypatch.setattr(libvirt.virConnect, name, call)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """A site of two nodes."""
    made = Site(tmp_path)
    yield made
    made.close()
