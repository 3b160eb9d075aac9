"""Which guest is meant: ``JOB[:RANK]`` as people type it. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from nornir_torque_vm.config.fields import show
from nornir_torque_vm.errors import RequestError
from nornir_torque_vm.identity import job_slug
from nornir_torque_vm.runstate.handover import HandOver, HandOverGuest


class Target(NamedTuple):
    """A guest. ``job`` is a job's id, perhaps without its server, as TORQUE's commands take it."""

    job: str
    rank: int = 0

    def __str__(self) -> str:
        """Return it as it is typed."""
        return f"{self.job}:{self.rank}"


def parse_target(text: str) -> Target:
    """Read ``17``, ``17.head:1``, ``17[3]:1``.

    :raises RequestError: it is nothing of the kind.
    """
    job, colon, rank = text.partition(":")
    if colon and not re.fullmatch(r"[0-9]{1,5}", rank):
        raise RequestError(f"{show(text)} is no guest", hint="write JOB:RANK, such as 17:1")
    try:
        job_slug(job)
    except ValueError as error:
        raise RequestError(str(error)) from None
    return Target(job, int(rank or 0))


def full_id(job: str, known: Iterable[str]) -> str:
    """Return the one of ``known`` job ids that ``job`` means; "" when it means none.

    :raises RequestError: it could mean several: jobs of several servers.
    """
    found = sorted({one for one in known if one == job or one.partition(".")[0] == job})
    if len(found) > 1 and job not in found:
        raise RequestError(f"{job} can be {' or '.join(found)}", hint="write the whole id")
    return job if job in found else "".join(found)


def guest_of(handover: HandOver, rank: int) -> HandOverGuest:
    """Return a guest by its rank.

    :raises RequestError: the job has no such guest.
    """
    for guest in handover.guests:
        if guest.rank == rank:
            return guest
    raise RequestError(
        f"there is no guest of rank {rank}",
        hint=f"its ranks are 0 to {len(handover.guests) - 1}",
        job=handover.job_id,
    )
