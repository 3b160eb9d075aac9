"""The last word on a start attempt, kept with the job's history."""

from __future__ import annotations

import dataclasses
import json

from nornir_torque_vm.exitcodes import outcome_of, run_exit
from nornir_torque_vm.hooks.decision import Decision
from nornir_torque_vm.report import Report


@dataclasses.dataclass(frozen=True, slots=True)
class Verdict:
    """How the prologue judged: ``outcome`` in words, both exit codes, one sentence (empty: all well).

    ``refused``: the job is started only to tell its owner so.
    """

    outcome: str
    hook_exit: int
    run_exit: int
    sentence: str = ""
    refused: bool = False

    @classmethod
    def of(cls, what: Report | BaseException, sentence: str, decision: Decision) -> Verdict:
        """Classify a report, or what kept the prologue from having one."""
        outcome = outcome_of(what).name.lower()
        told = decision.refusal or sentence
        return cls(outcome, int(decision.exit), int(run_exit(what)), told, refused=bool(decision.refusal))

    def to_json(self) -> str:
        """Return it as one JSON object."""
        return json.dumps(dataclasses.asdict(self), indent=1) + "\n"
