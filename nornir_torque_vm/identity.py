"""Names and numbers of a job's guests, all derived: the same job gets the same ones everywhere.

Job ids are hostile text until :func:`job_slug` has read them; whatever it returns is safe in host
names, file names, libvirt names and shell words.
"""

from __future__ import annotations

import re

from nornir_torque_vm.errors import InventoryError

TYPE_CHECKING = False
if TYPE_CHECKING:  # every task of a VM job pays for what is imported here
    from nornir_torque_vm.model import Job

_JOB_ID = re.compile(r"([0-9]{1,12})(?:\[([0-9]{1,12})\])?(?:\.[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,252}))?")

# 46 free bits make a locally administered unicast address. libvirt refuses a first byte of 0xFE
# (it gives its own end of the tap device that byte), so the 64th value of the first byte is left out.
_MAC_NUMBERS = 63 << 40


def job_slug(job_id: str) -> str:
    """Return the job id without its server, safe as a label and file name: ``17[3].head`` → ``17-3``.

    :raises InventoryError: not a TORQUE job id of one job (``17[].head`` is a whole array).
    """
    match = _JOB_ID.fullmatch(job_id)
    if match is None:
        from nornir_torque_vm.config.fields import show  # slow to import, and rarely needed

        raise InventoryError(
            f"{show(job_id)} is not a job id", hint="job ids look like 17.server or 17[3].server"
        )
    sequence, index = match.groups()
    return sequence if index is None else f"{sequence}-{index}"


def is_job_id(text: str) -> bool:
    """Whether a text, such as a file's name, is the id of one job."""
    return _JOB_ID.fullmatch(text) is not None


def guest_name(job_id: str, rank: int) -> str:
    """Return the guest's host name, unique among a server's jobs: ``j17-3-r0``."""
    return f"j{job_slug(job_id)}-r{rank}"


def mac_address(server: str, job_id: str, rank: int) -> str:
    """Return a locally administered unicast MAC address, ``02:…`` to ``fa:…``.

    A hash of server and job id plus the rank: unique within a job by construction, and two jobs
    overlap with a chance of about their guests in 2**46.
    """
    job_slug(job_id)
    number = (int(_digest(server, job_id)[:16], 16) + rank) % _MAC_NUMBERS
    high, low = divmod(number, 1 << 40)
    return (((high << 2 | 0b10) << 40) + low).to_bytes(6, "big").hex(":")


def guest_uuid(server: str, job_id: str, attempt: int, nonce: str, rank: int) -> str:
    """Return the UUID (RFC 9562 version 8: bits of our own) of one guest of one attempt."""
    job_slug(job_id)
    bits = _digest(server, job_id, str(attempt), nonce, str(rank))
    variant = "89ab"[int(bits[16], 16) & 3]
    return f"{bits[:8]}-{bits[8:12]}-8{bits[13:16]}-{variant}{bits[17:20]}-{bits[20:32]}"


def job_tag(job: Job) -> str:
    """Return what the things of one attempt of one job are named after: ``tvm-17-3-a1-<8 hex>``.

    The digits come from server, job id and nonce, so equal job ids of two servers, or of a server
    that counts from 0 again, stay apart.
    """
    return f"{_attempt(job)}-{_mark(job)}"


def domain_name(job: Job, rank: int) -> str:
    """Return the libvirt domain's name: ``tvm-17-3-a1-r0-<8 hex>``.

    Every volume of the guest has a name that starts with it; no domain name is the start of another.
    """
    return f"{_attempt(job)}-r{rank}-{_mark(job)}"


def domain_of_tag(tag: str, rank: int) -> str:
    """Return the :func:`domain_name` of an attempt's guest, from the attempt's :func:`job_tag`."""
    head, _, mark = tag.rpartition("-")
    return f"{head}-r{rank}-{mark}"


def tag_of_domain(name: str) -> str:
    """Return the tag of the attempt that a guest is of, from its :func:`domain_name`."""
    head, _, mark = name.rpartition("-")
    return f"{head.rpartition('-')[0]}-{mark}"


def _attempt(job: Job) -> str:
    return f"tvm-{job_slug(job.id)}-a{job.attempt}"


def _mark(job: Job) -> str:
    return _digest(job.server, job.id, job.nonce)[:8]


def _digest(*parts: str) -> str:
    """Return the SHA-256 of ``parts`` as hex; lengths are hashed too, so no two lists are alike."""
    import hashlib  # loads OpenSSL: only for those who need a name

    text = "".join(f"{len(part)}:{part}" for part in parts)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
