"""The last word on a start attempt, kept with the job's history."""

from __future__ import annotations

import dataclasses
import json

from nornir_torque_vm.exitcodes import hook_exit, outcome_of, run_exit
from nornir_torque_vm.report import Report


@dataclasses.dataclass(frozen=True, slots=True)
class Verdict:
    """How the prologue judged: ``outcome`` in words, both exit codes, one sentence (empty: all well)."""

    outcome: str
    hook_exit: int
    run_exit: int
    sentence: str = ""

    @classmethod
    def of(cls, what: Report | BaseException, sentence: str) -> Verdict:
        """Classify a report, or what kept the prologue from having one."""
        return cls(outcome_of(what).name.lower(), int(hook_exit(what)), int(run_exit(what)), sentence)

    def to_json(self) -> str:
        """Return it as one JSON object."""
        return json.dumps(dataclasses.asdict(self), indent=1) + "\n"
