#!/usr/bin/env python3
"""List the guests that exist on nodes, of whatever job.

python tasks/list_guests.py node1 node2
"""

from __future__ import annotations

import argparse
import logging
import sys

from nornir import InitNornir
from nornir_utils.plugins.functions import print_result

from nornir_torque_vm.errors import TorqueVMError
from nornir_torque_vm.tasks import list_guests


def main() -> int:
    """Return 1 when a node could not be asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("hosts", nargs="*", help="nodes; without any, those of $PBS_NODEFILE")
    parser.add_argument("--settings", help="the settings file; default: the site's")
    options = parser.parse_args()
    logging.getLogger("nornir").addHandler(logging.NullHandler())  # the results say what failed
    inventory = {"hosts": options.hosts or None, "settings": options.settings}
    with InitNornir(
        inventory={"plugin": "TorqueInventory", "options": inventory},
        runner={"plugin": "deadline", "options": {"run_timeout": 20}},
        logging={"enabled": False},
    ) as nornir:
        results = nornir.filter(role="node").run(task=list_guests)
        print_result(results)
    return int(results.failed)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except TorqueVMError as error:
        sys.exit(f"list_guests: {error}")
