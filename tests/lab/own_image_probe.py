"""Runs on a node of the lab: looks at an image of a user's, lets it be exchanged, then starts a guest of it.

Arguments: the image, what takes its place, ``labelled`` or ``unlabelled``: whether the domain keeps the label
that makes the emulator the owner's. Prints JSON: whether the guest started, and who is to blame if not; what
libvirt or we said; how often anybody opened what is in the image's place.
"""

from __future__ import annotations

import ctypes
import json
import os
import re
import sys
from pathlib import Path

import libvirt

from nornir_torque_vm.accounts import owner_named
from nornir_torque_vm.baseimages.own import job_image, not_opened
from nornir_torque_vm.config.settings import Settings
from nornir_torque_vm.connections.virconnect import library
from nornir_torque_vm.deadline import Deadline
from nornir_torque_vm.model import Guest, Job, Node, Plan, Shape
from nornir_torque_vm.render.domain import GuestVolumes, domain_xml
from nornir_torque_vm.request import Request
from nornir_torque_vm.storage.volumes import VolumeStorage

SETTINGS = Settings(allow_user_images=True, user_image_bridge="br0", network_filter="")
IN_OPEN = 0x20
"""``inotify(7)``."""
DOMAIN = "tvm-own-probe"


def main(path: str, other: str, how: str) -> None:
    """Do it."""
    conn = library().open("qemu:///system")
    storage = VolumeStorage(conn, SETTINGS.volume_dir)
    owner = owner_named("alice")
    image = job_image(Request(img=path), SETTINGS, owner, Deadline.after(30))
    overlay = storage.overlay(f"{DOMAIN}.qcow2", image)
    seed = storage.put(f"{DOMAIN}-seed.iso", bytes(4096))
    libc = ctypes.CDLL(None)
    watch = libc.inotify_init1(os.O_NONBLOCK)
    libc.inotify_add_watch(watch, other.encode(), IN_OPEN)
    Path(path).unlink()
    Path(path).symlink_to(other)
    guest = Guest("g", 0, "node1", 0, "52:54:00:00:77:01", "5c6b4b40-7d6e-4b4a-9c56-0123456789ab", DOMAIN,
                  Shape(1, 192 << 20, domain_type="qemu"))  # fmt: skip
    plan = Plan(Job("1.head", "head", owner), (Node("node1"),), (guest,), image)
    text = domain_xml(
        plan, guest, GuestVolumes(overlay, seed, storage.path(f"{DOMAIN}-console.log")), SETTINGS
    )
    if how == "unlabelled":
        text = re.sub(r'<seclabel type="static".*?</seclabel>', "", text, flags=re.DOTALL)
    found: dict[str, object] = {"started": True, "said": "", "blame": ""}
    try:
        conn.createXML(text, libvirt.VIR_DOMAIN_START_PAUSED).destroy()
    except libvirt.libvirtError as error:
        verdict = not_opened(image, owner, str(error), node="node1", guest="g")
        found = {
            "started": False,
            "said": str(verdict or error),
            "blame": verdict.blame.value if verdict else "",
        }
    storage.names("")  # libvirt looks into its pool
    for name in storage.names(DOMAIN):
        storage.remove(name)
    try:
        opened = len(os.read(watch, 1 << 16)) // 16
    except BlockingIOError:
        opened = 0
    print(json.dumps({**found, "opened": opened}))


main(*sys.argv[1:])
