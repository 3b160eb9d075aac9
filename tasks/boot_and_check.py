#!/usr/bin/env python3
"""Boot guests on nodes, run a command in each, and remove them again.

python tasks/boot_and_check.py node1 node2 --vm vcpus=1,ram=192M --command 'uname -a'
"""

from __future__ import annotations

import argparse
import logging
import os
import sys

from nornir import InitNornir
from nornir_utils.plugins.functions import print_result

from nornir_torque_vm.errors import TorqueVMError
from nornir_torque_vm.tasks import boot_guest, destroy


def main() -> int:
    """Return 1 when a guest did not become healthy or could not be removed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("hosts", nargs="*", help="nodes; without any, those of $PBS_NODEFILE")
    parser.add_argument(
        "--vm", default="", metavar="KEY=VALUE,…", help="what the guests shall be, as for -vm"
    )
    parser.add_argument("--command", default="true", help="shell command that has to succeed in each guest")
    parser.add_argument("--settings", help="the settings file; default: the site's")
    options = parser.parse_args()
    logging.getLogger("nornir").addHandler(logging.NullHandler())  # the results say what failed
    inventory = {
        "hosts": options.hosts or None,
        "settings": options.settings,
        "job_id": f"{os.getpid()}.boot-and-check",
        "request": options.vm,
    }
    with InitNornir(
        inventory={"plugin": "TorqueInventory", "options": inventory},
        runner={"plugin": "deadline", "options": {"run_timeout": 240}},
        logging={"enabled": False},
    ) as nornir:
        try:
            booted = nornir.filter(role="guest").run(task=boot_guest, command=options.command)
            print_result(booted)
        finally:
            # Hosts that failed are left out of later runs unless one asks for them.
            gone = nornir.filter(role="node").run(task=destroy, on_failed=True)
            print_result(gone)
    return int(booted.failed or gone.failed)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except TorqueVMError as error:
        sys.exit(f"boot_and_check: {error}")
