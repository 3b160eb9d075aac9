"""What the hosts of one run have come to, in words; both kinds of progress tell it."""

from __future__ import annotations

from nornir_torque_vm.nodefile import fold
from nornir_torque_vm.phases import PHASES, phase_of
from nornir_torque_vm.processors.base import Event, Kind
from nornir_torque_vm.report import Status


class Tally:
    """What the hosts of one run have come to."""

    def __init__(self) -> None:
        self._steps: dict[str, list[str]] = {}
        self._verdicts: dict[str, Status] = {}

    def note(self, event: Event) -> None:
        """Take an event into account."""
        if event.kind is Kind.RUN_START:
            self._steps.clear()
            self._verdicts.clear()
        elif event.kind is Kind.HOST_START:
            self._steps[event.host] = []
        elif event.kind is Kind.STEP_END and event.task in PHASES and event.seconds is not None:
            self._steps.setdefault(event.host, []).append(f"{event.phase} {event.seconds:.1f}")
        elif event.kind is Kind.HOST_END and event.status is not None:
            self._verdicts[event.host] = event.status

    @property
    def ended(self) -> int:
        """How many hosts have their verdict."""
        return len(self._verdicts)

    def verdict(self, event: Event) -> str:
        """One line for a host that ended: how, after how long, why or by which phases.

        People need not tell ``changed`` from ``ok``: a boot that went well is both.
        """
        status = "ok" if event.status is not None and event.status.good else _word(event.status)
        line = f"{event.host}: {status}"
        if event.failure is not None:
            what = event.failure.what
            return f"{event.host}: {what}" if what.startswith((status, "not started")) else f"{line}: {what}"
        if event.seconds is not None:
            line += f" after {event.seconds:.1f} s"
        steps = self._steps.get(event.host)
        return f"{line} ({', '.join(steps)})" if steps else line

    def summary(self, event: Event) -> str:
        """One line for a run that ended: the folded names of the hosts by how they ended."""
        groups: dict[Status, list[str]] = {}
        for host, status in self._verdicts.items():
            groups.setdefault(Status.OK if status.good else status, []).append(host)
        parts = [f"{len(groups[s])} {_word(s)} {fold(groups[s])}" for s in Status if s in groups]
        took = f" in {event.seconds:.1f} s" if event.seconds is not None else ""
        return f"{phase_of(event.task)}: {'; '.join(parts) or 'no host'}{took}"


def _word(status: Status | None) -> str:
    return str(status).replace("_", " ")
