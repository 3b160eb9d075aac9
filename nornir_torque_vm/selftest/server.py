"""What a self-test with jobs needs on the host it is run on: TORQUE's commands, a server, and our qsub."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path

from nornir_torque_vm.config.settings import Settings
from nornir_torque_vm.deadline import Deadline
from nornir_torque_vm.errors import TorqueVMError
from nornir_torque_vm.install import torquecfg
from nornir_torque_vm.install.submit_host import Places
from nornir_torque_vm.pbsnodes import NodeState, Pbsnodes
from nornir_torque_vm.reap.qstat import Qstat
from nornir_torque_vm.wrapper.runtime import is_front

FRONT = "qsub"
"""Our qsub, beside the submit filter."""
UNFIT = frozenset({"down", "offline", "unknown"})
"""States of a node that is given no job."""


class NotAtHand(TorqueVMError):
    """No job with guests can be submitted here."""


@dataclasses.dataclass(frozen=True, slots=True)
class AtHand:
    """Paths of our qsub and of TORQUE's own commands; and the server's nodes by name."""

    front: str
    qstat: str
    qdel: str
    nodes: Mapping[str, NodeState]

    def unfit(self, node: str) -> TorqueVMError | None:
        """Why a node will get no job; None when it can."""
        there = self.nodes.get(node)
        if there is None:
            return NotAtHand("the server knows no such node", hint="pbsnodes lists those it knows")
        if states := sorted(there.state & UNFIT):
            note = f" ({there.note})" if there.note else ""
            cure = f"pbsnodes -c {node} puts it back" if there.offline else f"look at its pbs_mom on {node}"
            return NotAtHand(f"the server gives it no job: it is {', '.join(states)}{note}", hint=cure)
        return None


def at_hand(settings: Settings, deadline: Deadline) -> AtHand:
    """Return what is here.

    :raises TorqueVMError: no server answers, or our qsub is not installed; it says which.
    """
    asked = Qstat.find(settings.real_qsub_on_nodes, deadline)
    if not asked.program:
        asked = Qstat.find(settings.real_qsub_on_server, deadline)
    asked.server()
    front = next((path for path in _fronts(settings) if is_front(path, "")), "")
    if not front:
        raise NotAtHand("our qsub is not installed here", hint="torque-vm install submit-host puts it here")
    beside = Path(asked.program)
    nodes = Pbsnodes.find(asked.program, deadline).states()
    return AtHand(front, asked.program, str(beside.with_name("qdel")), nodes)


def _fronts(settings: Settings) -> Iterator[str]:
    """Where it may be: beside the filter that ``torque.cfg`` names, and below the default prefix."""
    try:
        named = torquecfg.read_filter(Path(settings.torque_home, torquecfg.NAME).read_bytes())
    except OSError:
        named = None
    if named is not None:
        yield str(Path(named.path.decode(errors="replace")).with_name(FRONT))
    yield f"{Places().prefix}/wrapper/{FRONT}"
