"""Asking the server about its nodes, and telling it to leave one out, with TORQUE's own pbsnodes.

Facts (TORQUE 6.1.3, measured): ``pbsnodes -o`` ends with 0 also when the server refuses; only its stderr and
the node's state tell. It takes 10 to 20 ms. What is marked offline stays so when its MOM or the server is
started again, jobs on it go on. Who marks needs the operator right; everybody may look.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
import subprocess
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from pathlib import Path

from nornir_torque_vm.deadline import Deadline
from nornir_torque_vm.errors import TorqueVMError

PATIENCE = 10.0
"""Seconds an answer may take."""
OFFLINE = "offline"
PLACES = "/usr/local/bin:/usr/bin:/opt/torque/bin:/usr/local/torque/bin"
"""Where TORQUE's commands are usually, for a caller with a short PATH."""


class NodesUnknown(TorqueVMError):
    """The server cannot be asked about its nodes, or does not do what it is told."""


@dataclasses.dataclass(frozen=True, slots=True)
class NodeState:
    """A node as its server sees it: ``state`` in the server's words, and the note that people left."""

    state: frozenset[str]
    note: str = ""
    np: int = 0
    """How many slots it has; 0 when the server does not say."""

    @property
    def offline(self) -> bool:
        """Whether somebody has taken it out."""
        return OFFLINE in self.state


class Pbsnodes:
    """TORQUE's pbsnodes on this host.

    :param program: absolute path; empty when there is none.
    :param deadline: no answer is waited for beyond it.

    All methods raise :class:`NodesUnknown`.
    """

    def __init__(self, program: str, deadline: Deadline) -> None:
        self.program, self.deadline = program, deadline

    @classmethod
    def find(cls, qsub: str, deadline: Deadline) -> Pbsnodes:
        """The one beside TORQUE's own qsub, or else on the PATH."""
        name = "pbsnodes"
        return cls(shutil.which(name, path=str(Path(qsub).parent)) or shutil.which(name)
                   or shutil.which(name, path=PLACES) or "", deadline)  # fmt: skip

    def states(self) -> Mapping[str, NodeState]:
        """All nodes of the server, by name."""
        return parse_nodes(self._run("-x"))

    def take_out(self, node: str, note: str) -> None:
        """Mark a node offline, with a note; returns when the server has done so."""
        said = self._run("-o", "-N", note, node)
        self._expect(node, offline=True, said=said)

    def put_back(self, node: str) -> None:
        """Take mark and note away again."""
        said = self._run("-c", "-N", "n", node)
        self._expect(node, offline=False, said=said)

    def _expect(self, node: str, *, offline: bool, said: str) -> None:
        there = self.states().get(node)
        if there is None or there.offline is not offline:
            reason = said.strip().splitlines()[-1:] or ["it does not say why"]
            raise NodesUnknown(
                f"the server does not take the word of this node: {reason[0].strip()}",
                hint="torque-vm install server prints the line that gives root of the nodes the right",
            )

    def _run(self, *words: str) -> str:
        """Run it; return what it printed."""
        if not self.program:
            raise NodesUnknown("there is no pbsnodes on this node")
        try:
            done = subprocess.run(
                [self.program, *words], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                errors="replace", timeout=self.deadline.clamp(PATIENCE), check=False,
                env=environment(os.environ),
            )  # fmt: skip
        except subprocess.TimeoutExpired as error:
            raise NodesUnknown(f"the server does not answer within {error.timeout:.0f} s") from None
        except OSError as error:
            raise NodesUnknown(f"{self.program} cannot be run: {error.strerror}") from None
        if done.returncode:
            lines = done.stderr.strip().splitlines() or [f"pbsnodes ended with {done.returncode}"]
            raise NodesUnknown(f"no server answers: {lines[-1].strip()}")
        return done.stdout or done.stderr


def environment(ours: Mapping[str, str]) -> dict[str, str]:
    """What TORQUE's commands get of our environment: users can forge some of a hook's variables (TF 1.4)."""
    kept = {name: ours[name] for name in ("PATH", "LD_LIBRARY_PATH") if name in ours}
    return {**kept, "LC_ALL": "C"}


def parse_nodes(text: str) -> Mapping[str, NodeState]:
    """Read what ``pbsnodes -x`` prints.

    :raises NodesUnknown: it is something else; a document type is refused, for entities come from there.
    """
    try:
        root = ET.fromstring(text if "<!" not in text else "")  # noqa: S314 - no document type, so no entities
    except ET.ParseError:
        raise NodesUnknown("what pbsnodes -x says cannot be understood") from None
    return {
        node.findtext("name", ""): NodeState(
            frozenset(node.findtext("state", "").split(",")),
            node.findtext("note", ""),
            int(np) if (np := node.findtext("np", "").strip()).isdecimal() else 0,
        )
        for node in root.iter("Node")
    }
