#!/usr/bin/env python3
"""Run a read-only command on nodes over ssh; a pattern for ad-hoc tasks.

python tasks/node_uptime.py node1 node2
"""

from __future__ import annotations

import argparse
import logging
import sys

from nornir import InitNornir
from nornir.core.task import Result, Task
from nornir_utils.plugins.functions import print_result

from nornir_torque_vm.errors import TorqueVMError


def uptime(task: Task) -> Result:
    """How long a node has been up, and its load."""
    shell = task.host.get_connection("node_shell", task.nornir.config)
    done = shell.run(["uptime"], timeout=10)
    return Result(host=task.host, result=done.stdout.strip() or done.summary(), failed=not done.ok)


def main() -> int:
    """Return 1 when the command failed somewhere."""
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
        results = nornir.filter(role="node").run(task=uptime)
        print_result(results)
    return int(results.failed)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except TorqueVMError as error:
        sys.exit(f"node_uptime: {error}")
