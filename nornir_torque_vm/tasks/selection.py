"""Which domains and volumes of a node belong to a job. Pure."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Collection, Iterable

from nornir_torque_vm.identity import job_slug, job_tag
from nornir_torque_vm.model import Guest, Job
from nornir_torque_vm.render.metadata import GuestRecord


@dataclasses.dataclass(frozen=True, slots=True)
class Selection:
    """Which guests a run is about, by domain name first and by metadata then."""

    prefix: str
    domain: re.Pattern[str]
    """Matches the domain name, also at the start of a volume's name."""
    wants: Callable[[GuestRecord], bool]


def of_guest(guest: Guest) -> Selection:
    """One guest alone: no domain's name is the start of another's."""
    return Selection(guest.domain, re.compile(re.escape(guest.domain)), lambda _: True)


def of_job_id(job_id: str, attempt: int | None = None) -> Selection:
    """All attempts of the jobs with this id, or one of them.

    :raises InventoryError: not a job id.
    """
    slug = job_slug(job_id)
    middle = r"\d+" if attempt is None else str(attempt)
    pattern = re.compile(rf"tvm-{re.escape(slug)}-a{middle}-r\d+-[0-9a-f]{{8}}")

    def wants(guest: GuestRecord) -> bool:
        same = guest.job_id == job_id if "." in job_id else job_slug(guest.job_id) == slug
        return same and attempt in (None, guest.attempt)

    return Selection(f"tvm-{slug}-a", pattern, wants)


def of_job(job: Job) -> Selection:
    """Exactly this attempt: same server and nonce too."""
    head, _, mark = job_tag(job).rpartition("-")
    pattern = re.compile(rf"{re.escape(head)}-r\d+-{mark}")

    def wants(guest: GuestRecord) -> bool:
        return (guest.server, guest.job_id, guest.attempt, guest.nonce) == (
            job.server, job.id, job.attempt, job.nonce,
        )  # fmt: skip

    return Selection(f"{head}-r", pattern, wants)


def of_names(job_id: str, domains: Collection[str], attempt: int | None = None) -> Selection:
    """Those of a job's guests that have these domain names, which tell attempts and nonces apart.

    :raises InventoryError: not a job id.
    """
    pattern = re.compile("|".join(map(re.escape, domains)) or "(?!)")
    return dataclasses.replace(of_job_id(job_id, attempt), domain=pattern)


def is_of_job(name: str, job_id: str, tags: Collection[str] | None = None) -> bool:
    """Whether what a component has, called after the tag of its attempt, belongs to a job.

    A tag does not tell the server: one job of two servers with one number is as good as the other here.

    :param tags: of the attempts that are meant; any by default.
    :raises InventoryError: not a job id.
    """
    if tags is not None:
        return any(name == tag or name.startswith(f"{tag}-") for tag in tags)
    return re.match(rf"tvm-{re.escape(job_slug(job_id))}-a\d+-[0-9a-f]{{8}}(?![0-9a-z])", name) is not None


def volumes_of(chosen: Selection, names: Iterable[str], keep: Collection[str]) -> list[str]:
    """Those of a node's volumes that belong to the selection and to no domain that stays.

    :param keep: names of domains whose volumes are still needed.
    """
    matches = ((name, chosen.domain.match(name)) for name in names)
    return [name for name, match in matches if match is not None and match[0] not in keep]
