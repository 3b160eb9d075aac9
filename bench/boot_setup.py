"""Lay out everything a job's guests start from, as our hook would, and start nothing: for ``boot_floor.py``.

Runs in the job's first node. Arguments: job id, image request as it rides in a job, node names. The answer
says for each guest where its libvirt is, its domain's XML, its MAC address, and its host key; the log-in key
is the same for all.
"""

from __future__ import annotations

import json
import sys

from nornir.core.inventory import Host

from nornir_torque_vm.accounts import owner_named
from nornir_torque_vm.config import settings as settings_module
from nornir_torque_vm.deadline import Deadline
from nornir_torque_vm.engine import Engine
from nornir_torque_vm.hooks.frame import leave
from nornir_torque_vm.images import image_for
from nornir_torque_vm.inventory.build import build_inventory
from nornir_torque_vm.inventory.torque import server_of
from nornir_torque_vm.lab.files import USER
from nornir_torque_vm.model import Job, Node
from nornir_torque_vm.plan import make_plan
from nornir_torque_vm.report import Report
from nornir_torque_vm.request import find_in_resources
from nornir_torque_vm.sshkeys import make_job_keys
from nornir_torque_vm.tasks import prepare_image, start_guest

SECONDS = 30.0


def uri_of(host: Host) -> str:
    """Where the libvirt of the host's node is."""
    return str((host.get_connection_parameters("libvirt").extras or {})["uri"])


def main() -> None:
    """Make overlays and seeds, and tell the rest."""
    job_id, resources, *names = sys.argv[1:]
    settings, request = settings_module.load(), find_in_resources(resources)
    assert request is not None
    job = Job(job_id, server_of(job_id, settings), owner_named(USER.name))
    plan = make_plan(request, settings, job, [Node(name) for name in names], image_for(request, settings))
    keys = make_job_keys([guest.name for guest in plan.guests])
    inventory = build_inventory(plan, settings, keys=keys)
    engine = Engine(settings, Deadline.after(SECONDS))
    report = Report.from_results(engine.run(inventory, prepare_image, role="guest"))
    assert report.ok, report.sentences()
    shown = engine.run(inventory, start_guest, role="guest", dry_run=True)
    guests = [
        {
            "name": guest.name,
            "uri": uri_of(inventory.hosts[guest.name]),
            "xml": shown[guest.name][0].diff,
            "mac": guest.mac,
            "host_key": keys.hosts[guest.name].public,
        }
        for guest in plan.guests
    ]
    print(json.dumps({"guests": guests, "key": keys.admin.private}), flush=True)
    leave(0)


if __name__ == "__main__":
    main()
