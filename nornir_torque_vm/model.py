"""The nouns of this package as immutable values; DESIGN words, one class each.

No behaviour beyond what can be said from the values alone: no I/O, no clock, no Nornir.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Mapping

from nornir_torque_vm.addresses.model import StaticAddress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nornir_torque_vm.components.base import Part
    from nornir_torque_vm.components.devices import Extras
    from nornir_torque_vm.pinning.topology import Topology


class Distro(enum.StrEnum):
    """Operating system family of a guest image."""

    DEBIAN = "debian"
    REDHAT = "redhat"
    OSV = "osv"


class Memory(enum.StrEnum):
    """How a guest's memory keeps to NUMA cells; libvirt's words for ``numatune``."""

    STRICT = "strict"
    PREFERRED = "preferred"
    """From the cell first, and from others when it is full."""
    INTERLEAVE = "interleave"
    """From several cells by turns."""


@dataclasses.dataclass(frozen=True, slots=True)
class FileRef:
    """A file the user named in a request.

    ``digest`` is the SHA-256 of its content at submission, 64 hex digits; empty until it was read.
    Nodes read the file with the owner's rights and compare.
    """

    path: str
    digest: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Owner:
    """The account a job belongs to, as NSS knows it."""

    name: str
    uid: int
    gid: int
    group: str
    home: str
    shell: str = "/bin/bash"
    groups: tuple[tuple[str, int], ...] = ()
    """Supplementary groups: (name, gid)."""


@dataclasses.dataclass(frozen=True, slots=True)
class Job:
    """One attempt of one job.

    ``nonce`` is random per attempt: it tells apart what a reused job id left behind.
    """

    id: str
    server: str
    owner: Owner
    attempt: int = 1
    nonce: str = "00000000"


@dataclasses.dataclass(frozen=True, slots=True)
class Node:
    """A physical compute host of a job, in nodefile order.

    ``slots`` is how many lines (virtual processors) the job has there; ``address`` is the node's
    address as seen from the mother superior, empty when it was not resolved.
    """

    name: str
    slots: int = 1
    address: str = ""
    indexes: tuple[int, ...] = ()
    """Which of the node's slots the job has, ascending; empty when nobody told."""
    np: int = 0
    """How many slots the node has in TORQUE; 0 when nobody told."""


@dataclasses.dataclass(frozen=True, slots=True)
class Holding:
    """What a guest that exists on a node holds of it. ``memory`` in bytes, bound to ``cells``."""

    domain: str
    job_id: str = ""
    """Empty: the domain is none of ours."""
    cpus: tuple[int, ...] = ()
    cells: tuple[int, ...] = ()
    memory: int = 0


@dataclasses.dataclass(frozen=True, slots=True)
class NodeFacts:
    """What the survey found on one node. Sizes in bytes."""

    node: str
    cpus: int
    memory: int
    memory_free: int
    domain_types: Mapping[str, tuple[str, ...]]
    """Architecture → libvirt domain types it can run, e.g. ``{"x86_64": ("qemu", "kvm")}``."""
    emulators: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """Architecture → path of the emulator libvirt would use."""
    guests: int = 0
    """Guests of any job of ours that exist there now."""
    guests_memory: int = 0
    """Memory those guests may use, with their disks in memory and what those of a job share."""
    guests_ramdisk: int = 0
    """The part of it that is for those disks, and for what is shared."""
    ramdisk: int = 0
    """Size of the file system for these; 0: there is none."""
    copy: str = ""
    """Path of the node's own copy of the image it was asked about; empty: it has none."""
    hypervisor: str = ""
    """Driver and version, for people: ``QEMU 7.2.22, libvirt 9.0.0``."""
    topology: Topology | None = None
    """How processors and memory are grouped; None when nobody looked."""
    held: tuple[Holding, ...] = ()
    """What guests that are there hold for themselves."""
    claimed: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """Address that a guest there was given → its domain."""
    offers: Mapping[str, object] = dataclasses.field(default_factory=dict)
    """What the site's components found there, by their names."""
    refused: str = ""
    """What libvirt has against the shape it was asked about; empty: nothing."""


class UserFiles(enum.StrEnum):
    """How guests reach their user's files; the setting ``user_files``."""

    NONE = "none"
    NFS = "nfs"
    NINE_P = "9p"
    VIRTIOFS = "virtiofs"


@dataclasses.dataclass(frozen=True, slots=True)
class UserDir:
    """A directory of the nodes that guests have, mostly at the same path.

    ``source`` is ``SERVER:/EXPORT`` for NFS, else the name under which the guest finds the device.
    """

    path: str
    source: str
    elsewhere: str = ""
    """Its path in guests, where that is another one: it is read-only there."""

    @property
    def at(self) -> str:
        """Its path in guests."""
        return self.elsewhere or self.path


@dataclasses.dataclass(frozen=True, slots=True)
class Image:
    """A base image in the pool. ``virtual_size`` in bytes, 0 when not known."""

    name: str
    path: str
    format: str = "qcow2"
    virtual_size: int = 0
    distro: Distro = Distro.DEBIAN
    backing: tuple[str, ...] = ()
    """Paths of the images it builds on, all of its format, the topmost first; mostly none."""
    own: bool = False
    """Whether it is the job owner's own, so that the owner is root in its guests."""


@dataclasses.dataclass(frozen=True, slots=True)
class Shape:
    """What the virtual hardware of a guest is. ``ram`` in bytes."""

    vcpus: int
    ram: int
    arch: str = "x86_64"
    domain_type: str = "kvm"
    """libvirt domain type: ``kvm`` or ``qemu`` (emulation)."""
    emulator: str = ""
    """Path on the node; empty: the one libvirt finds."""
    machine: str = ""
    """Machine type; empty: that of the architecture."""
    cpu: str = ""
    """``host-passthrough``, ``host-model``, ``maximum`` or a model; empty: that of the domain type."""
    ramdisk: int = 0
    """Bytes of the node's memory that the disk may take; 0: it is in the volume directory."""


@dataclasses.dataclass(frozen=True, slots=True)
class Placement:
    """Where on its node a guest runs: physical processors by number, NUMA cells by number."""

    cpus: tuple[int, ...]
    """All it may use."""
    vcpus: tuple[tuple[int, ...], ...] = ()
    """What each virtual processor may use of them; empty: each all, it floats."""
    emulator: tuple[int, ...] = ()
    """What the emulator's own threads may use; empty: all."""
    cells: tuple[int, ...] = ()
    """Where its memory comes from; empty: wherever."""
    memory: Memory | None = None
    exclusive: bool = False
    """Whether the processors are the job's own share."""
    why: str = ""
    """Why it floats although it should be pinned."""
    kept: tuple[int, ...] = ()
    """Processors of the job's share that its guests leave to its components."""


@dataclasses.dataclass(frozen=True, slots=True)
class Guest:
    """One virtual machine of a job."""

    name: str
    """Host name of the guest and its name in the Nornir inventory."""
    rank: int
    node: str
    index: int
    """0, 1 … among this job's guests on its node."""
    mac: str
    uuid: str
    domain: str
    """Name of the libvirt domain; also the prefix of its volumes."""
    shape: Shape
    base: str = ""
    """Path of its node's own copy of the image, which its disk is on; empty: it is on the pool's."""
    placement: Placement | None = None
    """None: the node's processors are not known, the guest floats over all of them."""
    static: StaticAddress | None = None
    """None: it asks a DHCP server."""
    extras: Extras | None = None
    """What components add to it."""


@dataclasses.dataclass(frozen=True, slots=True)
class DataDisk:
    """A disk of the user's, which the job's first guest gets. ``format`` is ``qcow2`` or ``raw``."""

    path: str
    format: str


@dataclasses.dataclass(frozen=True, slots=True)
class Plan:
    """A request resolved on the nodes of one job: everything that is decided before acting."""

    job: Job
    nodes: tuple[Node, ...]
    guests: tuple[Guest, ...]
    image: Image
    user_files: UserFiles = UserFiles.NONE
    user_dirs: tuple[UserDir, ...] = ()
    components: tuple[Part, ...] = ()
    disk: DataDisk | None = None
    """Of the first guest, by rank."""
    added: str = ""
    """Cloud-init settings the owner adds, as a JSON object; empty: none."""

    def on(self, node: str) -> tuple[Guest, ...]:
        """The guests on ``node``, by rank."""
        return tuple(guest for guest in self.guests if guest.node == node)


@dataclasses.dataclass(frozen=True, slots=True)
class KeyPair:
    """An ed25519 key pair in OpenSSH's formats (PROTOCOL.key; one-line public key)."""

    private: str = dataclasses.field(repr=False)
    public: str


@dataclasses.dataclass(frozen=True, slots=True)
class JobKeys:
    """The keys of one attempt. ``hosts`` maps guest name → host key of that guest.

    ``admin`` opens root in the guests and stays root's on the mother superior; ``user`` opens the
    job owner's account and is handed over to the owner.
    """

    admin: KeyPair
    user: KeyPair
    hosts: Mapping[str, KeyPair]
