"""What a lab shall be: the orders and the files of all its hosts."""

from __future__ import annotations

import dataclasses
import hashlib
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from nornir_torque_vm.config.settings import loads
from nornir_torque_vm.config.textfile import write_text
from nornir_torque_vm.lab import files, spec, torque, tree
from nornir_torque_vm.lab.files import Directory, File
from nornir_torque_vm.lab.layout import HEAD, HEAD_NODE, SWITCH, LabNode, LabPaths
from nornir_torque_vm.lab.pki import LabKeys
from nornir_torque_vm.lab.spec import Batch, HostSpec
from nornir_torque_vm.lab.tools import Sshd
from nornir_torque_vm.lab.torque import Torque

SHARED = tuple(d for d in files.DIRECTORIES if d.path.startswith("/home"))


@dataclasses.dataclass(frozen=True, slots=True)
class Blueprint:
    """Everything that the hosts of a lab are made from.

    :param settings: text of the settings.toml that all hosts but the switch have.
    :param kvm: whether hardware virtualization was proven to work.
    """

    name: str
    paths: LabPaths
    nodes: tuple[LabNode, ...]
    slots: int
    pool: Path
    keys: LabKeys
    sshd: Sshd
    settings: str
    kvm: bool
    torque: Torque | None = None

    @property
    def wired(self) -> dict[str, LabNode]:
        """All hosts with a cable to the switch, by name."""
        return {host.name: host for host in (*self.nodes, *((HEAD_NODE,) if self.torque else ()))}

    def orders(self) -> dict[str, HostSpec]:
        """Return what every host's first process is told; whatever changes that means a new host."""
        made = {SWITCH: spec.switch_spec(self.paths.files(SWITCH))}
        if self.torque:
            made[HEAD] = spec.head_spec(
                self.paths.files(HEAD),
                pool=self.pool,
                show=self._shown(),
                identity=self._identity(HEAD),
                batch=self._batch(self.torque, self.torque.head_daemons()),
            )
        for node in self.nodes:
            made[node.name] = spec.node_spec(
                node,
                self.paths.files(node.name),
                pool=self.pool,
                tools=self.paths.cache / "tools",
                sshd=self.sshd.path,
                libraries=self.sshd.libraries,
                show=self._shown(),
                kvm=self.kvm,
                identity=self._identity(node.name),
                batch=self._batch(self.torque, self.torque.node_daemons()) if self.torque else None,
            )
        return made

    def write(self, orders: Mapping[str, HostSpec], fresh: Iterable[str]) -> None:
        """Write the files of all hosts; those that daemons change only for the ``fresh`` ones."""
        if self.torque:
            tree.make_directories(self.paths.shared, SHARED)
        for name in orders:
            tree.write_tree(self.paths.files(name), self._files(name), self._directories(name))
        for name in fresh:
            tree.write_files(self.paths.files(name), self._state(name))
        for name, order in orders.items():
            write_text(self.paths.spec(name), order.text())

    def server_commands(self) -> str:
        """Return what makes a new server ready for jobs."""
        return torque.server_commands(self.nodes)

    @staticmethod
    def _shown() -> tuple[str, ...]:
        """Directories of the machine with a Python that has this package."""
        return sys.prefix, sys.base_prefix, str(Path(__file__).parents[2])

    def _batch(self, installed: Torque, daemons: tuple[spec.Daemon, ...]) -> Batch:
        return Batch(daemons, self.paths.shared / "home", installed.shown())

    def _identity(self, name: str) -> str:
        """What makes a new host of one whose orders are the same: other keys, another start of daemons."""
        state = "".join(file.text for file in self._state(name))
        if name == HEAD:
            state += self.server_commands()
        return self.keys.identity + (hashlib.sha256(state.encode()).hexdigest()[:16] if state else "")

    def _directories(self, name: str) -> tuple[Directory, ...]:
        if not self.torque or name == SWITCH:
            return ()
        return torque.HEAD_DIRECTORIES if name == HEAD else torque.NODE_DIRECTORIES

    def _files(self, name: str) -> tuple[File, ...]:
        others = (HEAD_NODE,) if self.torque else ()
        profile = (self.torque.profile(),) if self.torque and name != SWITCH else ()
        if name == SWITCH:
            return files.common_files((*others, *self.nodes), SWITCH)
        if name == HEAD:
            return (*files.head_files(self.nodes, self.keys, self.settings), *profile)
        node = next(node for node in self.nodes if node.name == name)
        made = files.node_files(node, self.nodes, self.keys, self.name, self.settings, others)
        return (*made, *profile)

    def _state(self, name: str) -> tuple[File, ...]:
        """Files from which daemons start and which somebody changes later."""
        if not self.torque or name == SWITCH:
            return ()
        if name == HEAD:
            return torque.head_state(self.nodes, self.slots)
        return torque.node_state(loads(self.settings).prologalarm)
