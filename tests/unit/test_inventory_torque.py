"""The inventory plugin: where nodes come from, when there are guests, and what the site kit holds."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import subprocess
import sys
from typing import Any

import pytest
from nornir import InitNornir
from nornir.core import Nornir
from qcow2_bytes import image_bytes
from task_kit import JOB, World, make_plan, result_of

from nornir_torque_vm.config.settings import Settings
from nornir_torque_vm.errors import ImageError, InventoryError, RequestError, SettingsError
from nornir_torque_vm.inventory import hostdata
from nornir_torque_vm.inventory.torque import TorqueInventory, server_of
from nornir_torque_vm.runstate.jobstate import JobState
from nornir_torque_vm.tasks import list_guests, survey

KIT = pathlib.Path(__file__).parents[2] / "inventory"


@pytest.fixture
def folder(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    """A site of test nodes: settings, a pool with one image, two nodes; nothing in the environment."""
    monkeypatch.delenv("PBS_NODEFILE", raising=False)
    pool = tmp_path / "pool"
    pool.mkdir()
    (pool / "base.qcow2").write_bytes(image_bytes())
    for node in ("node1", "node2"):
        (tmp_path / f"{node}.xml").write_text("<node/>")
    (tmp_path / "nodefile").write_text("node1\nnode1\nnode2\n")
    write_settings(tmp_path)
    return tmp_path


def write_settings(folder: pathlib.Path, **more: str) -> str:
    values = {
        "node_uri": f"test://{folder}/{{node}}.xml",
        "volume_dir": f"{folder}/volumes",
        "run_dir": f"{folder}/run",
        "image_pool": f"{folder}/pool",
        **more,
    }
    path = folder / "settings.toml"
    path.write_text("".join(f'{name} = "{value}"\n' for name, value in values.items()))
    return str(path)


def load(folder: pathlib.Path, **options: object) -> TorqueInventory:
    return TorqueInventory(settings=str(folder / "settings.toml"), here="elsewhere", **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "options",
    [
        {"nodefile": "nodefile"},
        {"hosts": ["node1", "node1", "node2"]},
        {"hosts": "node1 node1,node2"},
        {"exec_host": "node1/0-1+node2/0"},
    ],
)
def test_every_way_to_name_nodes_gives_the_same_nodes(
    folder: pathlib.Path, options: dict[str, object]
) -> None:
    """In the order of the nodefile, with the slots counted."""
    if "nodefile" in options:
        options = {"nodefile": str(folder / "nodefile")}
    hosts = load(folder, **options).load().hosts
    assert [(host.name, host["slots"], host["role"]) for host in hosts.values()] == [
        ("node1", 2, "node"),
        ("node2", 1, "node"),
    ]


def test_torques_own_variable_is_the_last_resort(
    folder: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is said in the options goes before it."""
    monkeypatch.setenv("PBS_NODEFILE", str(folder / "nodefile"))
    assert list(load(folder).load().hosts) == ["node1", "node2"]
    assert list(load(folder, hosts="node9").load().hosts) == ["node9"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "nobody says which nodes; give nodefile, hosts or exec_host, or set PBS_NODEFILE"),
        ({"nodefile": "/nowhere/nodefile"}, "the nodefile /nowhere/nodefile cannot be read: No such file"),
        ({"hosts": []}, "names no node"),
        ({"hosts": ""}, "names no node"),
        ({"hosts": ["a'b"]}, "is not a host name"),
        ({"exec_host": "node1"}, "exec_host"),
        ({"hosts": "node1", "request": "vcpus=2"}, "give job_id as well"),
    ],
)
def test_nothing_usable_is_an_error_and_never_an_empty_inventory(
    folder: pathlib.Path, options: dict[str, object], words: str
) -> None:
    """Nornir would call a run over no host a success."""
    with pytest.raises(InventoryError, match=words.split(";", maxsplit=1)[0]) as caught:
        load(folder, **options).load()
    assert words in str(caught.value)


def test_a_nodefile_that_is_no_text_is_refused(folder: pathlib.Path) -> None:
    """In one line, like everything else."""
    (folder / "nodefile").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InventoryError, match="is not text"):
        load(folder, nodefile=str(folder / "nodefile")).load()


def test_a_settings_file_that_was_named_must_exist(folder: pathlib.Path) -> None:
    """A misspelt path must not mean the defaults."""
    with pytest.raises(SettingsError):
        TorqueInventory(hosts="node1", settings=str(folder / "nowhere.toml")).load()


def test_with_a_job_id_guests_are_planned_with_keys_of_their_own(folder: pathlib.Path) -> None:
    """Everything ``boot_guest`` needs, and the request applied."""
    options = {"hosts": "node1 node2", "job_id": "17.head", "request": "img=base.qcow2,vms_per_node=2,ram=1G"}
    inventory = load(folder, **options).load()
    assert list(inventory.hosts) == ["node1", "node2", "j17-r0", "j17-r1", "j17-r2", "j17-r3"]
    guest = inventory.hosts["j17-r3"]
    assert hostdata.guest_of(guest).shape.ram == 1 << 30
    assert hostdata.plan_of(guest).job.server == "head"
    assert set(hostdata.keys_of(guest).hosts) == {"j17-r0", "j17-r1", "j17-r2", "j17-r3"}
    again = load(folder, **options).load().hosts["j17-r3"]
    assert hostdata.guest_of(again).domain != hostdata.guest_of(guest).domain  # never the same guest twice


@pytest.mark.parametrize(
    ("request_text", "error"),
    [("", RequestError), ("img=nowhere.qcow2", ImageError), ("img=base.qcow2,vcpus=none", RequestError)],
)
def test_a_request_that_cannot_be_met_is_refused_while_loading(
    folder: pathlib.Path, request_text: str, error: type[Exception]
) -> None:
    """No image, an unknown image, a bad value: before any node is asked."""
    with pytest.raises(error):
        load(folder, hosts="node1", job_id="17.head", request=request_text).load()


class TestRunningJob:
    """A job this mother superior has started is taken as it is."""

    @pytest.fixture
    def world(self, folder: pathlib.Path) -> World:
        """The state a prologue leaves."""
        made = World(folder, make_plan(2, 1))
        state = JobState(folder / "run", made.plan.job)
        state.save(made.plan, made.keys)
        return made

    def test_its_plan_keys_and_nodes_come_from_the_state(self, folder: pathlib.Path, world: World) -> None:
        """No nodefile is needed; the names are those of the guests that run."""
        inventory = load(folder, job_id="17.head").load()
        guest = inventory.hosts["j17-r1"]
        assert list(inventory.hosts) == ["node1", "node2", "j17-r0", "j17-r1"]
        assert hostdata.plan_of(guest) == world.plan
        assert hostdata.keys_of(guest) == world.keys
        assert guest.hostname is None

    def test_addresses_that_were_handed_over_are_known(self, folder: pathlib.Path, world: World) -> None:
        """So that health can be checked at once."""
        owner = dataclasses.replace(world.plan.job.owner, uid=os.getuid(), gid=os.getgid())
        plan = dataclasses.replace(world.plan, job=dataclasses.replace(JOB, owner=owner))
        addresses = {"j17-r0": "10.89.0.8", "j17-r1": "10.89.0.9"}
        JobState(folder / "run", plan.job).hand_over(plan, world.keys, addresses)
        assert load(folder, job_id="17.head").load().hosts["j17-r1"].hostname == "10.89.0.9"

    def test_a_request_cannot_change_it(self, folder: pathlib.Path, world: World) -> None:
        """Rather than being ignored in silence."""
        assert world.plan.guests
        with pytest.raises(InventoryError, match="has its guests already"):
            load(folder, job_id="17.head", request="vcpus=2").load()


@pytest.mark.parametrize(
    ("job_id", "setting", "server"), [("17.head.cluster", "", "head.cluster"), ("17.head", "batch", "batch")]
)
def test_the_settings_know_the_server_best(job_id: str, setting: str, server: str) -> None:
    """Else it is what stands behind the number."""
    assert server_of(job_id, Settings(server_hostname=setting)) == server


def test_loading_imports_neither_libvirt_nor_ssh(folder: pathlib.Path) -> None:
    """A CI machine without them loads the same inventory."""
    options = {"nodefile": str(folder / "nodefile"), "settings": str(folder / "settings.toml")}
    program = (
        "import sys; from nornir_torque_vm.inventory.torque import TorqueInventory\n"
        f"TorqueInventory(**{options!r}).load()\n"
        "heavy = {'libvirt', 'paramiko', 'netmiko', 'cryptography', 'rich', 'jinja2'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def script(inventory: dict[str, Any]) -> Nornir:
    """What an administrator's script begins with."""
    return InitNornir(
        inventory=inventory,
        runner={"plugin": "deadline", "options": {"run_timeout": 20}},
        logging={"enabled": False},
    )


def test_the_plugin_is_found_by_name(folder: pathlib.Path) -> None:
    """Tasks, filters and the deadline runner work from a plain ``InitNornir``."""
    options = {"hosts": "node1 node2", "settings": str(folder / "settings.toml"), "here": "elsewhere"}
    with script({"plugin": "TorqueInventory", "options": options}) as nornir:
        results = nornir.filter(role="node", name="node2").run(task=survey)
    assert result_of(results, "node2").node == "node2"
    assert list(results) == ["node2"]


def test_the_kits_configuration_loads(folder: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As it is shipped: the nodes come from the environment, the options are ours."""
    monkeypatch.setenv("PBS_NODEFILE", str(KIT / "nodefile.sample"))
    monkeypatch.chdir(folder)
    nornir = InitNornir(config_file=str(KIT / "config.yaml"))
    assert list(nornir.inventory.hosts) == ["node1", "node2"]
    assert (nornir.runner.num_workers, nornir.runner.run_timeout) == (64, 240)  # type: ignore[attr-defined]
    assert not (folder / "nornir.log").exists()


def test_the_kits_groups_serve_a_hosts_file(folder: pathlib.Path) -> None:
    """An administrator's own hosts.yaml needs nothing but names; the node's name completes the URI."""
    (folder / "hosts.yaml").write_text("node1: {hostname: node1, groups: [node]}\n")
    groups = (KIT / "groups.yaml").read_text()
    assert "qemu+ssh://root@{node}/system" in groups
    (folder / "groups.yaml").write_text(
        groups.replace("qemu+ssh://root@{node}/system", f"test://{folder}/{{node}}.xml")
    )
    (folder / "defaults.yaml").write_text(f"data: {{settings: {folder}/settings.toml}}\n")
    files = {f"{kind}_file": str(folder / f"{kind}s.yaml") for kind in ("host", "group")}
    options = {**files, "defaults_file": str(folder / "defaults.yaml")}
    with script({"plugin": "SimpleInventory", "options": options}) as nornir:
        assert result_of(nornir.filter(role="node").run(task=list_guests), "node1") == []
        assert result_of(nornir.run(task=survey), "node1").node == "node1"


def test_the_kits_defaults_mean_the_sites_settings(folder: pathlib.Path) -> None:
    """The key is there to be filled in."""
    (folder / "hosts.yaml").write_text("node1: {groups: [node]}\n")
    inventory = {
        "plugin": "SimpleInventory",
        "options": {
            "host_file": str(folder / "hosts.yaml"),
            "group_file": str(KIT / "groups.yaml"),
            "defaults_file": str(KIT / "defaults.yaml"),
        },
    }
    nornir = script(inventory)
    assert nornir.inventory.defaults.data == {"settings": None}
    assert hostdata.node_of(nornir.inventory.hosts["node1"]) == "node1"
