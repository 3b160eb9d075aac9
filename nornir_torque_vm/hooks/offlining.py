"""After a start: what it says about the job's nodes is kept; one that fails job after job is taken out.

Never changes how the hook ends. The server is told (``pbsnodes -o -N``), because that holds for every node,
also one whose libvirt is dead, and lasts until somebody takes it back. Where the server does not take our
word a node can still take itself out, if its MOM runs our node check.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence

from nornir_torque_vm.config.settings import Settings
from nornir_torque_vm.deadline import Deadline
from nornir_torque_vm.errors import TorqueVMError
from nornir_torque_vm.faults import NOTE_START, Fault, blamed, did_well, note, weight
from nornir_torque_vm.hooks.arguments import HookCall
from nornir_torque_vm.hooks.frame import log, log_unforeseen, sentence_of
from nornir_torque_vm.hooks.momconfig import node_check
from nornir_torque_vm.nodefile import valid_host
from nornir_torque_vm.pbsnodes import NodesUnknown, Pbsnodes
from nornir_torque_vm.report import Report
from nornir_torque_vm.runstate.faultrecord import FaultRecords, take_out_here

HOOK = "prologue"


def same_host(node: str, host: str) -> bool:
    """Whether a node's name in TORQUE and a host's own mean the same, with or without a domain."""
    return node.partition(".")[0] == host.partition(".")[0]


class Offlining:
    """What one start does about faulty nodes.

    :param deadline: the server is not asked beyond it.
    :param host: this host's name; asked from the system when empty.
    """

    def __init__(self, call: HookCall, settings: Settings, deadline: Deadline, host: str = "") -> None:
        self.call, self.settings, self.deadline = call, settings, deadline
        self.host = host or os.uname().nodename
        self.records = FaultRecords(settings.history_dir)
        self.server = Pbsnodes.find(settings.real_qsub_on_nodes, deadline)

    def judge(self, what: Report | BaseException) -> None:
        """Hold the end of a start against the nodes that it speaks against; never raises."""
        try:
            if isinstance(what, Report) and what.ok:
                self.records.forget(did_well(what))
                return
            here = self.call.mother_superior
            here = here if valid_host(here) else ""
            for node, fault in blamed(what, self.call.job_id, time.time(), here).items():
                self.count(node, fault)
        except Exception as error:  # noqa: BLE001 - the job's end is decided already
            log(HOOK, self.call.job_id, f"faulty nodes are not counted: {sentence_of(error)}")
            log_unforeseen(HOOK, self.call.job_id, error)

    def count(self, node: str, fault: Fault) -> None:
        """Keep a fault, and take the node out when it is one too many."""
        faults = self.records.add(node, fault, self.settings.offline_within)
        if 0 < self.settings.offline_after <= weight(faults):
            try:
                log(HOOK, self.call.job_id, self.take_out(node, faults))
            except TorqueVMError as error:
                log(HOOK, self.call.job_id, f"{node} failed {len(faults)} times and stays in use: {error}")

    def take_out(self, node: str, faults: Sequence[Fault]) -> str:
        """Take a node out by the server, else by its own check; return what was done, in words.

        :raises TorqueVMError: neither is possible, or too many are out already.
        """
        text = note(node, faults)
        try:
            states = self.server.states()
            if node in states and states[node].offline:
                return f"{node} failed {len(faults)} times and is offline already"
            ours = sorted(
                name for name, one in states.items() if one.offline and one.note.startswith(NOTE_START)
            )
            if len(ours) >= self.settings.max_offline_nodes:
                raise TorqueVMError(
                    f"{', '.join(ours)} were taken out before it",
                    hint="look for what they share, put them back, or raise max_offline_nodes",
                )
            self.server.take_out(node, text)
        except NodesUnknown:
            if not (same_host(node, self.host) and node_check(self.settings.torque_home)):
                raise
            take_out_here(self.settings.run_dir, text)
        self.records.forget([node])
        return f"{node} was taken out: {text}"
