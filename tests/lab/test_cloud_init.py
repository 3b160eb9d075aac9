"""What we tell guests, judged by Debian's cloud-init: its schema, and the files it writes for each system."""

from __future__ import annotations

import dataclasses
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cloud_init import LIBRARY, PYTHON, CloudInit
from hypothesis import given, settings
from hypothesis import strategies as st
from render_kit import IMAGE, keys_for, legal, plan_of

from nornir_torque_vm.addresses.model import StaticAddress
from nornir_torque_vm.config.cloudinit import ROOT_KEYS, SAFE_KEYS
from nornir_torque_vm.config.settings import Settings
from nornir_torque_vm.model import Distro, Owner
from nornir_torque_vm.render.cloudinit.metadata import check_added, with_metadata
from nornir_torque_vm.render.cloudinit.network import network_config
from nornir_torque_vm.render.cloudinit.seed import seed_files

pytestmark = [
    pytest.mark.lab,
    pytest.mark.skipif(not Path(PYTHON).exists(), reason=f"there is no {PYTHON}, for which cloud-init is"),
]

ADDRESSES = ("10.0.0.53", "192.168.255.1", "fd00::53")
NAMES = ("ntp.site.example", "time", "10.0.0.1")
SYSTEMS = [
    ("networkd", "debian"), ("netplan", "debian"), ("eni", "debian"), ("netplan", "ubuntu"),
    ("sysconfig", "rhel"), ("network-manager", "rhel"), ("sysconfig", "centos"),
]  # fmt: skip
"""Renderers of network-config, on systems that use them."""

ASKS_DHCP = ("DHCP=ipv4", "dhcp4: true", "BOOTPROTO=dhcp", "inet dhcp", "method=auto")


@pytest.fixture(scope="module")
def cloud_init() -> Iterator[CloudInit]:
    with CloudInit() as running:
        yield running


packages = st.lists(st.sampled_from(["nfs-common", "g++", "libc6.1", "openmpi"]), unique=True).map(tuple)
domains = st.sampled_from(["", "site.example", "guests.site.example"])
sites = st.builds(
    Settings,
    name_server=st.lists(st.sampled_from(ADDRESSES), unique=True, max_size=3).map(tuple),
    search_domain=domains, domain=domains,
    ntp_server_1=st.sampled_from(["", *NAMES]), ntp_server_2=st.sampled_from(["", *NAMES]),
    sw_packages_debian=packages, sw_packages_redhat=packages, package_update=st.booleans(),
)  # fmt: skip
text = legal.filter(bool)
numbers = st.integers(1, 2**31)
owners = st.builds(
    Owner, name=text, group=text, home=text.map("/{}".format), shell=text.map("/{}".format), uid=numbers,
    gid=numbers, groups=st.lists(st.tuples(text, numbers), max_size=3).map(tuple),
) | st.just(Owner("root", 0, 0, "root", "/root"))  # fmt: skip
families = st.sampled_from([Distro.DEBIAN, Distro.REDHAT])


@given(owner=owners, site=sites, family=families, node=st.sampled_from(["", "10.89.0.11"]))
@settings(max_examples=150)
def test_the_schema_has_nothing_against_any_user_data(
    cloud_init: CloudInit, owner: Owner, site: Settings, family: Distro, node: str
) -> None:
    """Whoever owns the job, whatever the site says, for each family; no word of it is going to be dropped."""
    plan = plan_of(owner=owner, image=dataclasses.replace(IMAGE, distro=family))
    files = seed_files(plan, plan.guests[1], keys_for(), node, site)
    assert cloud_init.against(files["user-data"]) == ""


users = st.fixed_dictionaries({}, optional={
    "timezone": st.just("Europe/Berlin"), "locale": st.just("C.UTF-8"),
    "runcmd": st.just(["true", ["a", "b"]]),
    "packages": st.just(["g++", ["hdf5", "1.10"]]), "bootcmd": st.just(["true"]),
    "write_files": st.just([{"path": "/x", "content": "y", "permissions": "0600"}]),
})  # fmt: skip


@given(user=users, site=users, settings_=sites)
@settings(max_examples=60)
def test_the_schema_has_nothing_against_what_is_added(
    cloud_init: CloudInit, user: dict[str, Any], site: dict[str, Any], settings_: Settings
) -> None:
    """By the site and by the user, together with ours."""
    check_added(user, (*SAFE_KEYS, *ROOT_KEYS))
    plan = with_metadata(plan_of(), user, Settings(user_image_bridge="br9"))
    files = seed_files(plan, plan.guests[0], keys_for(), "10.89.0.11", settings_, site)
    assert cloud_init.against(files["user-data"]) == ""


@given(site=sites)
@settings(max_examples=40)
@pytest.mark.parametrize(("renderer", "distro"), SYSTEMS)
def test_network_config_becomes_the_systems_own_files(
    cloud_init: CloudInit, renderer: str, distro: str, site: Settings
) -> None:
    """The card is found by its address and asks DHCP on each of them, whatever the site says."""
    plan = plan_of()
    files = seed_files(plan, plan.guests[0], keys_for(), "", site)
    written = "\n".join(cloud_init.files(files["network-config"], renderer, distro).values())
    assert plan.guests[0].mac in written.lower()
    assert any(word in written for word in ASKS_DHCP)


@pytest.mark.parametrize(("renderer", "distro"), SYSTEMS)
def test_name_servers_reach_each_system_that_asks_cloud_init_for_them(
    cloud_init: CloudInit, renderer: str, distro: str
) -> None:
    """NetworkManager is told nothing with DHCP, but by our own program; see resolver.sh."""
    site = Settings(name_server=("10.0.0.53", "10.0.0.54"), search_domain="site.example")
    plan = plan_of()
    config = seed_files(plan, plan.guests[0], keys_for(), "", site)["network-config"]
    written = "\n".join(cloud_init.files(config, renderer, distro).values())
    told = all(word in written for word in ("10.0.0.53", "10.0.0.54", "site.example"))
    assert told == (renderer != "network-manager")


@pytest.mark.parametrize(("renderer", "distro"), SYSTEMS)
def test_a_planned_address_reaches_each_system(cloud_init: CloudInit, renderer: str, distro: str) -> None:
    """With its router; none of them asks DHCP then."""
    static = StaticAddress("10.89.0.65", 24, "10.89.0.1")
    guest = dataclasses.replace(plan_of().guests[0], static=static)
    config = network_config(guest, Settings(name_server=("10.0.0.53",)))
    written = "\n".join(cloud_init.files(config, renderer, distro).values())
    assert all(word in written for word in ("10.89.0.65", "10.89.0.1", "10.0.0.53"))
    assert not any(word in written for word in ASKS_DHCP)


@pytest.mark.parametrize(
    ("broken", "why"),
    [
        ("", "does not begin"),
        ('#cloud-config\n{"users": 1}\n', "users"),
        ('#cloud-config\n{"users": [{"name": "a", "uid": []}]}\n', "users"),
        ('#cloud-config\n{"bootcmd": "true"}\n', "bootcmd"),
        ('#cloud-config\n{"ssh_keys": {"ed25519": "x"}}\n', "ssh_keys"),
        ('#cloud-config\n{"ntp": {"server": "x"}}\n', "ntp"),
        ('#cloud-config\n{"packages": []}\n', "packages"),
    ],
)
def test_the_judge_finds_mistakes(cloud_init: CloudInit, broken: str, why: str) -> None:
    """Else it would prove nothing."""
    assert why in cloud_init.against(broken)


def test_cloud_inits_own_command_says_the_same(cloud_init: CloudInit, tmp_path: Path) -> None:
    """``cloud-init schema``, as an administrator would call it."""
    plan = plan_of()
    text = seed_files(plan, plan.guests[0], keys_for(), "10.89.0.11", Settings())["user-data"]
    for name, content, code in (("good", text, 0), ("bad", text.replace('"bootcmd"', '"ntp"'), 1)):
        (tmp_path / name).write_text(content)
        done = subprocess.run(
            [PYTHON, "-m", "cloudinit.cmd.main", "schema", "--config-file", str(tmp_path / name)],
            env={"PYTHONPATH": str(cloud_init.tree / LIBRARY), "PATH": "/usr/bin:/bin"}, cwd=tmp_path,
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == code, done.stdout + done.stderr
