"""What a job's first guest would be made from: by the renderers that nodes use, with made-up names.

Needs the extra ``node``; imported only when somebody asks for an explanation.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from nornir_torque_vm.accounts import caller
from nornir_torque_vm.errors import InventoryError
from nornir_torque_vm.images import open_image
from nornir_torque_vm.model import Image, Job, JobKeys, KeyPair, Node, Owner
from nornir_torque_vm.plan import make_plan
from nornir_torque_vm.render.cloudinit.seed import seed_files
from nornir_torque_vm.render.domain import GuestVolumes, domain_xml
from nornir_torque_vm.tasks.volumes import console_name, overlay_name, seed_name

if TYPE_CHECKING:
    from nornir_torque_vm.config.settings import Settings
    from nornir_torque_vm.wrapper.submission import Submission

NODE, SERVER = "NODE", "SERVER"
ADDRESS = "192.0.2.1"
"""Of the node: from the addresses that documentation may use (RFC 5737)."""
PLACEHOLDERS = (
    f"a guest of job 0.{SERVER} on the node {NODE} ({ADDRESS}): placeholders, as are the keys and the "
    "names, MAC address and uuid, which are made for each job; JSON is spread over lines"
)


def sample(submission: Submission, settings: Settings) -> str:
    """Return domain XML and seed of the first guest, each after a line that names it.

    :raises TorqueVMError: they cannot be rendered, for a reason nodes would meet too.
    """
    server = settings.server_hostname or SERVER
    job = Job(f"0.{server}", server, _owner())
    plan = make_plan(
        submission.request, settings, job, [Node(NODE, 1, ADDRESS)], _image(submission, settings)
    )
    guest = plan.guests[0]
    disks = settings.ramdisk_dir if guest.shape.ramdisk else settings.volume_dir
    files = (
        f"{disks}/{overlay_name(guest.domain)}",
        *(f"{settings.volume_dir}/{name(guest.domain)}" for name in (seed_name, console_name)),
    )
    texts = {
        "domain XML": domain_xml(plan, guest, GuestVolumes(*files), settings),
        **seed_files(plan, guest, _keys(guest.name), ADDRESS, settings),
    }
    parts = [PLACEHOLDERS.replace(f"0.{SERVER}", job.id), ""]
    for name, text in texts.items():
        parts += [f"--- {name}", _indented(text).rstrip("\n"), ""]
    return "\n".join(parts)


def _owner() -> Owner:
    try:
        return caller()
    except InventoryError:  # in a container without accounts
        return Owner("USER", 1000, 1000, "GROUP", "/home/USER")


def _image(submission: Submission, settings: Settings) -> Image:
    name = submission.resolved["img"]
    if "/" in name:
        return Image(name.rpartition("/")[2], name, distro=submission.resolved["distro"], own=True)
    return open_image(settings.image_pool, name)


def _keys(guest: str) -> JobKeys:
    """Texts that nobody takes for keys."""
    return JobKeys(_pair("ADMIN"), _pair("USER"), {guest: _pair("HOST")})


def _pair(use: str) -> KeyPair:
    return KeyPair(f"PRIVATE-{use}-KEY-OF-THE-JOB", f"ssh-ed25519 PUBLIC-{use}-KEY-OF-THE-JOB")


def _indented(text: str) -> str:
    """JSON, in one line for cloud-init, over several for people; other text as it is."""
    comment, _, rest = text.partition("\n") if text.startswith("#") else ("", "", text)
    try:
        pretty = json.dumps(json.loads(rest), indent=1, ensure_ascii=False)
    except ValueError:
        return text
    return f"{comment}\n{pretty}" if comment else pretty
