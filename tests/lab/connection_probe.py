"""Runs inside a node of the lab: uses a connection there and prints what came of it as JSON."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nornir.core import Nornir
from nornir.core.configuration import Config, LoggingConfig
from nornir.core.inventory import ConnectionOptions, Defaults, Groups, Host, Hosts, Inventory
from nornir.core.plugins.connections import ConnectionPluginRegister
from nornir.core.task import Result, Task

from nornir_torque_vm.config.settings import load
from nornir_torque_vm.connections import virconnect
from nornir_torque_vm.connections.guest_ssh import GuestSshConnection
from nornir_torque_vm.connections.libvirt import LibvirtConnection, mapped
from nornir_torque_vm.connections.node_shell import NodeShellConnection, pool
from nornir_torque_vm.report import Report
from nornir_torque_vm.runners.deadline import DeadlineRunner
from nornir_torque_vm.threads import stragglers

logging.getLogger("nornir").addHandler(logging.NullHandler())  # else failing tasks print tracebacks

SETTINGS = load("/etc/torque-vm/settings.toml")
NO_BRIDGE = """
<domain type='qemu'><name>x</name><memory>32768</memory><os><type>hvm</type></os>
<devices><interface type='bridge'><source bridge='br-none'/></interface></devices></domain>"""


def uri(node: str) -> str:
    return SETTINGS.node_uri.replace("{node}", node)


def libvirt(node: str, **extras: str) -> LibvirtConnection:
    connection = LibvirtConnection()
    connection.open(node, None, None, None, None, {"uri": uri(node), **extras})
    return connection


def outcome(action: Callable[[], Any]) -> dict[str, Any]:
    """What an action returned or raised, and after how long."""
    began = time.monotonic()
    try:
        value, error, code = action(), "", 0
    except Exception as raised:  # noqa: BLE001 - which one it is gets told
        value, error, code = str(raised), type(raised).__name__, getattr(raised, "code", 0)
    return {"value": value, "error": error, "code": code, "seconds": time.monotonic() - began}


def far(node: str, command: str) -> None:
    """Do something to the daemon of a node."""
    subprocess.run(["ssh", node, command], check=True, capture_output=True)


def errors() -> dict[str, Any]:
    """Failures of many kinds, of the connection and of calls."""
    conn = libvirt("node2").connection

    def call(action: Callable[[], Any]) -> Callable[[], Any]:
        def run() -> Any:
            with mapped("node2"):
                return action()

        return run

    def open_uri(text: str) -> Callable[[], Any]:
        return lambda: LibvirtConnection().open("node2", None, None, None, None, {"uri": text})

    return {
        "hostname": outcome(conn.getHostname),
        "no bridge": outcome(call(lambda: conn.createXML(NO_BRIDGE))),
        "no domain": outcome(call(lambda: conn.lookupByName("nobody"))),
        "no certificate": outcome(open_uri("qemu+tls://node2/system?pkipath=/nowhere")),
        "no daemon": outcome(open_uri("qemu+tcp://node2:1/system")),
    }


def domains(task: Task) -> Result:
    conn = task.host.get_connection("libvirt", task.nornir.config)
    with mapped(task.host.name):
        return Result(host=task.host, result=len(conn.listAllDomains()))


def frozen(when: str) -> dict[str, Any]:
    """A run over two nodes while the daemon of one is stopped, before or after it was connected."""
    ConnectionPluginRegister.register("libvirt", LibvirtConnection)
    hosts = {
        name: Host(name, connection_options={"libvirt": ConnectionOptions(extras={"uri": uri(name)})})
        for name in ("node1", "node2")
    }
    inventory = Inventory(hosts=Hosts(hosts), groups=Groups(), defaults=Defaults())
    config = Config(logging=LoggingConfig(enabled=False))
    nornir = Nornir(inventory, config=config, runner=DeadlineRunner(run_timeout=1.5))
    if when == "connected":
        nornir.run(domains)
    far("node2", "kill -STOP $(pidof libvirtd)")
    try:
        run = outcome(lambda: [entry.status for entry in Report.from_results(nornir.run(domains)).hosts])
        close = outcome(hosts["node2"].close_connections)
        left = len(stragglers())
    finally:
        far("node2", "kill -CONT $(pidof libvirtd)")
    end = time.monotonic() + 5
    while stragglers() and time.monotonic() < end:
        time.sleep(0.05)
    return {"run": run, "close": close, "left": left, "later": len(stragglers())}


def silent() -> dict[str, Any]:
    """A call that a stopped daemon never answers, without any deadline; keepalive as short as can be."""
    virconnect.KEEPALIVE_INTERVAL, virconnect.KEEPALIVE_COUNT = 1, 3
    host = libvirt("node2")
    conn = host.connection
    far("node2", "kill -STOP $(pidof libvirtd)")
    try:

        def ask() -> int:
            with mapped("node2"):
                return len(conn.listAllDomains())

        call = outcome(ask)
    finally:
        far("node2", "kill -CONT $(pidof libvirtd)")
    return {"call": call, "again": outcome(lambda: _hostname(host))}


def restarted() -> dict[str, Any]:
    """A host's connection after its daemon was killed, and after it came back."""
    host = libvirt("node2")
    conn = host.connection

    def ask() -> str:
        with mapped("node2"):
            return str(conn.getHostname())

    far("node2", "kill -9 $(pidof libvirtd)")
    dead, gone = outcome(conn.listAllDomains), outcome(lambda: host.connection)
    far("node2", "libvirtd --listen -d")
    end = time.monotonic() + 10
    while outcome(lambda: host.connection)["error"] and time.monotonic() < end:
        time.sleep(0.1)
    return {
        "dead": dead,
        "gone": gone,
        "old": outcome(ask),
        "new": outcome(lambda: _hostname(host)),
    }


def many(count: str) -> dict[str, Any]:
    """Many guests of one node connect at once."""
    hosts = [LibvirtConnection() for _ in range(int(count))]
    threads = [
        threading.Thread(target=host.open, args=("node2", None, None, None, None, {"uri": uri("node2")}))
        for host in hosts
    ]
    took = outcome(lambda: _run_all(threads))
    different = len({id(host.connection) for host in hosts})
    alive = sum(host.connection.isAlive() for host in hosts)
    return {"seconds": took["seconds"], "connections": different, "alive": alive}


def _hostname(host: LibvirtConnection) -> str:
    """Ask by whatever connection the host has now."""
    return str(host.connection.getHostname())


def _run_all(threads: list[threading.Thread]) -> None:
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def shell() -> dict[str, Any]:
    """Commands on a node over netmiko, by what the lab's settings say."""
    extras = {"key_file": SETTINGS.node_shell_key, "known_hosts": SETTINGS.node_shell_known_hosts}

    def connect(**changes: str) -> NodeShellConnection:
        connection = NodeShellConnection()
        connection.open("node2", SETTINGS.node_shell_user, None, None, None, {**extras, **changes})
        return connection

    hosts: list[NodeShellConnection] = []
    threads = [threading.Thread(target=lambda: hosts.append(connect())) for _ in range(30)]
    _run_all(threads)
    Path("/tmp/empty_known_hosts").write_text("")
    host = hosts[0]
    found = {
        "hosts": len(hosts),
        "logins": pool.count(host._login),
        "hostname": outcome(lambda: host.run(["hostname"]).stdout),
        "failing": outcome(lambda: _parts(host.run(["sh", "-c", "echo out; echo err >&2; exit 7"]))),
        "killed": outcome(lambda: host.run(["sh", "-c", "kill -9 $$"]).rc),
        "neighbours": outcome(lambda: host.run(["ip", "neigh"]).ok),
        "unknown key": outcome(lambda: connect(known_hosts="/tmp/empty_known_hosts")),
    }
    for host in hosts:
        host.close()
    return found


def _parts(result: Any) -> list[Any]:
    return [result.rc, result.stdout, result.stderr]


def guest() -> dict[str, Any]:
    """The connection for guests, against the real sshd of a node."""
    pinned = next(
        line for line in Path(SETTINGS.node_shell_known_hosts).read_text().splitlines() if "node2" in line
    )
    extras = {
        "host_key": pinned.split(None, 1)[1],
        "private_key": Path(SETTINGS.node_shell_key).read_text(),
        "guest": "j1-r0",
    }

    def connect(user: str = "root", **changes: str) -> GuestSshConnection:
        connection = GuestSshConnection()
        connection.open("10.89.0.12", user, None, None, None, {**extras, **changes})
        return connection

    host = connect()
    data = b"0123456789abcdef" * (1 << 16)
    found = {
        "open": outcome(lambda: connect().close()),
        "run": outcome(lambda: _parts(host.run("cat; echo err >&2; exit 7", stdin=b"in\n"))),
        "much": outcome(lambda: host.run("cat", stdin=data).stdout.encode() == data),
        "killed": outcome(lambda: host.run("kill -9 $$").rc),
        "background": outcome(lambda: host.run("sleep 5 & exit 3").rc),
        "slow": outcome(lambda: host.run("sleep 30", timeout=0.5)),
        "other key": outcome(lambda: connect(host_key=_other_key())),
        "nobody": outcome(lambda: connect("nosuchuser")),
    }
    host.close()
    return found


def _other_key() -> str:
    """The host key of the other node."""
    lines = Path(SETTINGS.node_shell_known_hosts).read_text().splitlines()
    return next(line.split(None, 1)[1] for line in lines if "node1" in line)


if __name__ == "__main__":
    print(json.dumps(globals()[sys.argv[1]](*sys.argv[2:])))
