"""What root leaves for the job's owner on a node: where the guests are and how to get in.

The job starter runs as the owner and knows ``$PBS_JOBID`` only, so both things that it looks for are
named after the job id as it is (digits, brackets and the server's name: no slash, see
:func:`~nornir_torque_vm.identity.job_slug`):

``<run_dir>/markers/<job id>``
    Empty, written by the prologue's shell part before anything that can fail: "this is a VM job".
    The same step removes an old hand-over, so that guests of an earlier attempt are never entered.
``<run_dir>/handover/<job id>/given``
    JSON, mode 0400, owned by the job's owner; the last act of a good start. Its owner can rewrite it, so
    it lies in a directory of root's and not beside others: see :mod:`~nornir_torque_vm.storage.sealed`.

Marker without hand-over means: refuse. A job that cannot get its guests has a :class:`Refusal` in place of
the hand-over, for its owner to read. Imports little, because every task of a job starts here: named tuples,
since ``dataclasses`` costs a task 10 ms.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Mapping
from typing import NamedTuple

from nornir_torque_vm.errors import DeadlineExceeded, RequestError, StateError
from nornir_torque_vm.identity import job_slug, job_tag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path

    from nornir_torque_vm.model import JobKeys, Plan

RUN_DIR = "/run/torque-vm"
"""Default of the setting ``run_dir``; what the shell parts of the hooks are installed with."""
MARKERS, HANDOVERS = "markers", "handover"
"""Subdirectories of the run directory. They may be searched by everybody and listed by root."""
GIVEN = "given"
"""The hand-over in its job's directory."""
UPLOADED = "+given"
"""Follows the job id in the name of root's copy beside that directory, while libvirt makes a hand-over."""
VERSION = 1
"""Of the JSON form."""


class HandOverGuest(NamedTuple):
    """A guest as the job sees it."""

    name: str
    rank: int
    node: str
    address: str
    vcpus: int


class HandOver(NamedTuple):
    """Everything the job's owner needs to enter the guests."""

    job_id: str
    tag: str
    """The attempt it belongs to, see :func:`~nornir_torque_vm.identity.job_tag`."""
    user: str
    guests: tuple[HandOverGuest, ...]
    """By rank."""
    user_key: str
    """Private key in OpenSSH's format; opens the owner's account in every guest."""
    known_hosts: str
    """Content of a known_hosts file with every guest's name, address and host key."""
    nodes: tuple[tuple[str, int], ...] = ()
    """Names and slots of the job's nodes, in the nodefile's order."""
    distro: str = ""
    """Operating system family of the guests' image, see :class:`~nornir_torque_vm.model.Distro`."""

    def __repr__(self) -> str:
        """Show it without the key: tracebacks and logs print values."""
        return f"HandOver({self.job_id}, {self.tag}, {self.user}, {self.guests})"

    @classmethod
    def of(cls, plan: Plan, keys: JobKeys, addresses: Mapping[str, str]) -> HandOver:
        """Put together the hand-over of a plan whose guests are all ready.

        :param addresses: guest name → IP address.
        :raises NoAddress: a guest's is missing.
        """
        from nornir_torque_vm.render.roster import known_hosts

        pinned = known_hosts(plan, addresses, keys)
        return cls(
            job_id=plan.job.id,
            tag=job_tag(plan.job),
            user=plan.job.owner.name,
            guests=tuple(
                HandOverGuest(guest.name, guest.rank, guest.node, addresses[guest.name], guest.shape.vcpus)
                for guest in plan.guests
            ),
            user_key=keys.user.private,
            known_hosts=pinned,
            nodes=tuple((node.name, node.slots) for node in plan.nodes),
            distro=str(plan.image.distro),
        )

    def guest_of_slot(self, slot: int) -> HandOverGuest:
        """The guest for the task of a slot (``PBS_VNODENUM``): a node's slots go block-wise to its guests.

        :raises StateError: the job has no such slot.
        """
        first = 0
        for node, slots in self.nodes:
            if first <= slot < first + slots:
                here = [guest for guest in self.guests if guest.node == node]
                if here:
                    return here[(slot - first) * len(here) // slots]
            first += slots
        raise StateError(f"no guest belongs to slot {slot}", hint="see $PBS_NODEFILE", job=self.job_id)

    def to_json(self) -> str:
        """Return it as JSON text; :meth:`from_json` gives an equal value back."""
        raw = self._asdict() | {"guests": [guest._asdict() for guest in self.guests]}
        return json.dumps({"version": VERSION, **raw}, indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes) -> HandOver:
        """Read what :meth:`to_json` wrote.

        :raises StateError: another version of the form, or no such text; the site's refusal.
        :raises RequestError: a refusal by the user's fault.
        :raises DeadlineExceeded: a refusal because the guests were late.
        """
        try:
            raw = json.loads(text)
            version = raw.pop("version")
            if version != VERSION:
                raise StateError(
                    f"the hand-over has form {version!r}, this program reads {VERSION}",
                    hint="submit the job again",
                )
            if "refusal" in raw:
                raise _refused(Refusal(**raw["refusal"]))
            guests = tuple(HandOverGuest(**guest) for guest in raw.pop("guests"))
            nodes = tuple((str(name), int(slots)) for name, slots in raw.pop("nodes", ()))
            return cls(**raw, guests=guests, nodes=nodes)
        except RequestError:  # it is a ValueError too
            raise
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
            raise StateError(
                f"the hand-over cannot be read ({type(error).__name__})", hint="submit the job again"
            ) from error


class Refusal(NamedTuple):
    """Why a job has no guests, in one sentence.

    ``user``: by its owner's fault, not the site's; ``late``: they were not ready in time.
    """

    sentence: str
    user: bool
    late: bool = False

    def to_json(self) -> str:
        """Return it as JSON text, which :meth:`HandOver.from_json` raises."""
        return json.dumps({"version": VERSION, "refusal": self._asdict()}) + "\n"


def _refused(refusal: Refusal) -> RequestError | StateError | DeadlineExceeded:
    if refusal.late:
        return DeadlineExceeded(refusal.sentence)
    return (RequestError if refusal.user else StateError)(refusal.sentence)


def handover_path(run_dir: str | Path, job_id: str) -> str:
    """Return where a job's hand-over is, or would be."""
    return f"{run_dir}/{HANDOVERS}/{job_id}/{GIVEN}"


def read_handover(run_dir: str | Path, job_id: str) -> HandOver:
    """Return a job's hand-over; for the job's owner, who cannot write where it lies.

    :raises InventoryError: ``job_id`` is no job id.
    :raises StateError: there is none, or it is not ours; the site's refusal.
    :raises RequestError: a refusal by the user's fault.
    :raises DeadlineExceeded: a refusal because the guests were late.
    """
    job_slug(job_id)
    path = handover_path(run_dir, job_id)
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK)
    except FileNotFoundError as error:
        raise StateError(
            "its guests were not started, or are gone",
            hint="the prologue on this node failed or was killed: submit the job again",
            job=job_id,
        ) from error
    except OSError as error:
        raise StateError(f"cannot read {path}: {error.strerror}", job=job_id) from error
    try:
        status = os.fstat(fd)
        if status.st_uid != os.geteuid():
            raise StateError(
                f"{path} belongs to uid {status.st_uid}, not to uid {os.geteuid()}",
                hint="a job's guests are entered by its owner only",
                job=job_id,
            )
        if not stat.S_ISREG(status.st_mode):
            raise StateError(f"{path} is not a regular file", hint="submit the job again", job=job_id)
        with open(fd, "rb", closefd=False) as file:
            return HandOver.from_json(file.read())
    finally:
        os.close(fd)
