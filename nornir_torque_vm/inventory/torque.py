"""Nornir inventory plugin ``TorqueInventory``: the nodes of a batch job, and its guests.

In a Nornir configuration::

    inventory:
      plugin: TorqueInventory
      options: {nodefile: /var/spool/torque/aux/17.head}

Loading reads files of this machine only. It talks to no node and imports neither libvirt nor ssh.
"""

from __future__ import annotations

import os
import pathlib
import secrets
from collections.abc import Sequence

from nornir.core.inventory import Inventory

from nornir_torque_vm.config import settings as settings_module
from nornir_torque_vm.config.settings import Settings
from nornir_torque_vm.errors import InventoryError
from nornir_torque_vm.inventory.build import build_inventory, node_inventory
from nornir_torque_vm.model import Job, Node
from nornir_torque_vm.nodefile import parse_exec_host, parse_nodefile


class TorqueInventory:
    """Nodes of a job as Nornir hosts; with a job id also its guests.

    :param nodefile: path of a nodefile. Without it, ``hosts`` and ``exec_host``, the one that
        ``$PBS_NODEFILE`` names.
    :param exec_host: the job's attribute, ``node1/0-3+node2/0``.
    :param hosts: host names, one slot each; or one text with blanks or commas between them.
    :param job_id: ``17.head``. A job that runs on this mother superior is taken as it is, with its
        plan, keys and addresses. For any other id a plan with fresh keys is made: what
        ``boot_guest`` needs.
    :param request: what ``-vm`` options would say, ``vcpus=2,ram=1G``; needs ``job_id``.
    :param settings: path of the settings file; the site's when None.
    :param here: host name of this machine; asked from the system when None.
    """

    def __init__(
        self,
        nodefile: str | None = None,
        exec_host: str | None = None,
        hosts: Sequence[str] | str | None = None,
        job_id: str | None = None,
        request: str = "",
        settings: str | None = None,
        here: str | None = None,
    ) -> None:
        self._nodefile, self._exec_host, self._hosts = nodefile, exec_host, hosts
        self._job_id, self._request, self._settings = job_id, request, settings
        self._here = here

    def load(self) -> Inventory:
        """Return the inventory.

        :raises InventoryError: no node is named, a file cannot be read, a name is no host name.
        :raises SettingsError, RequestError, ImageError, StateError: as their names say.
        """
        settings = settings_module.load(self._settings)
        if self._request and not self._job_id:
            raise InventoryError("a request needs a job", hint="give job_id as well as request")
        if self._job_id is None:
            return node_inventory(self.nodes(), settings, here=self._here)
        return self._running(self._job_id, settings) or self._planned(self._job_id, settings)

    def _running(self, job_id: str, settings: Settings) -> Inventory | None:
        """The inventory of a job that this mother superior has started; None when it has not."""
        from nornir_torque_vm.runstate.jobstate import JobState

        state = JobState.find(settings.run_dir, job_id)
        plan = state.plan() if state else None
        if state is None or plan is None:
            return None
        if self._request:
            raise InventoryError("the job has its guests already", hint="leave the request out", job=job_id)
        return build_inventory(
            plan, settings, keys=state.keys(), addresses=state.addresses(), here=self._here
        )

    def _planned(self, job_id: str, settings: Settings) -> Inventory:
        """The inventory of a job that is only now thought out, with keys of its own."""
        from nornir_torque_vm.accounts import caller
        from nornir_torque_vm.images import image_for
        from nornir_torque_vm.plan import make_plan
        from nornir_torque_vm.request import parse_request
        from nornir_torque_vm.sshkeys import make_job_keys

        request = parse_request([self._request])
        image = image_for(request, settings)
        job = Job(job_id, server_of(job_id, settings), caller(), nonce=secrets.token_hex(4))
        plan = make_plan(request, settings, job, self.nodes(), image)
        keys = make_job_keys([guest.name for guest in plan.guests])
        return build_inventory(plan, settings, keys=keys, here=self._here)

    def nodes(self) -> tuple[Node, ...]:
        """The nodes that were named, by the first there is of: nodefile, hosts, exec_host, environment.

        :raises InventoryError: none is named, a file cannot be read, a name is no host name.
        """
        if self._nodefile is not None:
            return read_nodefile(self._nodefile)
        if self._hosts is not None:
            names = self._hosts.replace(",", " ").split() if isinstance(self._hosts, str) else self._hosts
            return parse_nodefile("\n".join(names))
        if self._exec_host is not None:
            return parse_exec_host(self._exec_host)
        if named := os.environ.get("PBS_NODEFILE"):
            return read_nodefile(named)
        raise InventoryError(
            "nobody says which nodes", hint="give nodefile, hosts or exec_host, or set PBS_NODEFILE"
        )


def server_of(job_id: str, settings: Settings) -> str:
    """Host name of the job's batch server: the settings', else what the job id says, else ours."""
    return settings.server_hostname or job_id.partition(".")[2] or os.uname().nodename


def read_nodefile(path: str) -> tuple[Node, ...]:
    """The nodes that a nodefile names.

    :raises InventoryError: there is none, it cannot be read, or is no nodefile.
    """
    if not path:
        raise InventoryError("no nodefile is named", hint="only a job's mother superior has one")
    try:
        text = pathlib.Path(path).read_text(encoding="utf-8")
    except OSError as exc:
        raise InventoryError(f"the nodefile {path} cannot be read: {exc.strerror}") from exc
    except UnicodeDecodeError as exc:
        raise InventoryError(f"the nodefile {path} is not text") from exc
    return parse_nodefile(text)
