"""The NoCloud seed: what the guest is told, in a form every reader understands, in an image all can mount."""

from __future__ import annotations

import dataclasses
import io
import json
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import ruamel.yaml
import yaml  # type: ignore[import-untyped]
from hypothesis import given, settings
from hypothesis import strategies as st
from pycdlib import PyCdlib
from render_kit import cpu_seconds, illegal, keys_for, legal, owned_by, plan_of

from nornir_torque_vm.addresses.model import StaticAddress
from nornir_torque_vm.config.settings import Settings
from nornir_torque_vm.errors import RequestError
from nornir_torque_vm.model import Distro, Owner, Plan
from nornir_torque_vm.render.cloudinit.iso import seed_iso
from nornir_torque_vm.render.cloudinit.network import network_config
from nornir_torque_vm.render.cloudinit.programs import program
from nornir_torque_vm.render.cloudinit.seed import meta_data, seed_files
from nornir_torque_vm.render.cloudinit.userdata import user_data

SETTINGS = Settings()
FILES = {"meta-data": "{}\n", "user-data": "#cloud-config\n{}\n", "network-config": '{"version": 2}\n'}


def told(plan: Plan, node_address: str = "", site: Settings = SETTINGS) -> Any:
    """The object in user-data, after checking its header."""
    header, text = user_data(plan, plan.guests[0], keys_for(), node_address, site).split("\n", 1)
    assert header == "#cloud-config"
    return json.loads(text)


def test_user_data_says_exactly_this() -> None:
    """Only keys that cloud-init's schema documents; the micro guest's reader knows the same ones."""
    keys = keys_for()
    assert told(plan_of()) == {
        "hostname": "j17-3-r0",
        "preserve_hostname": False,
        "users": [
            {"name": "root", "ssh_authorized_keys": [keys.admin.public]},
            {
                "name": "alice", "uid": 2001, "primary_group": "staff", "no_user_group": True,
                "shell": "/bin/bash", "lock_passwd": True,
                "ssh_authorized_keys": [keys.user.public],
            },
        ],
        "disable_root": False,
        "ssh_pwauth": False,
        "ssh_deletekeys": True,
        "ssh_keys": {
            "ed25519_private": keys.hosts["j17-3-r0"].private,
            "ed25519_public": keys.hosts["j17-3-r0"].public,
        },
        "bootcmd": [
            [
                "sh", "-c", program("accounts"),
                "sh", "alice", "2001", "staff", "2002", "/home/alice", "/bin/bash", "hpc", "3000",
            ]
        ],
        "package_update": False,
        "package_upgrade": False,
    }  # fmt: skip


def test_each_guest_has_its_own_name_and_host_key() -> None:
    """And none of the private keys of others: not the job's, not the administrator's."""
    plan, keys = plan_of(), keys_for()
    first, second = (json.loads(user_data(plan, guest, keys, "", SETTINGS)[14:]) for guest in plan.guests)
    assert (first.pop("hostname"), second.pop("hostname")) == ("j17-3-r0", "j17-3-r1")
    assert first.pop("ssh_keys") != second.pop("ssh_keys")
    assert first == second
    for secret in (keys.admin.private, keys.user.private, keys.hosts["j17-3-r1"].private):
        assert secret.splitlines()[3] not in user_data(plan, plan.guests[0], keys, "", SETTINGS)


def test_a_home_elsewhere_is_stated() -> None:
    """cloud-init would make /home/NAME."""
    assert told(owned_by(home="/data/alice"))["users"][1]["homedir"] == "/data/alice"
    assert "homedir" not in told(plan_of())["users"][1]


def test_groups_are_told_once_and_none_that_makes_root() -> None:
    """The primary one comes first; another name of its number adds nothing."""
    groups = (("staff", 2002), ("other", 2002), ("sudo", 27), ("docker", 990), ("root", 0), ("hpc", 3000))
    assert told(owned_by(groups=groups))["bootcmd"][0][10:] == ["hpc", "3000"]
    assert told(owned_by(groups=()))["bootcmd"][0][10:] == []


@pytest.mark.parametrize("name", ["accounts", "resolver"])
def test_the_seeds_programs_are_posix_shell(name: str) -> None:
    """As every shell reads it that a guest may have, without comments."""
    script = program(name)
    assert "#" not in {line.lstrip()[:1] for line in script.splitlines()}
    assert script.count("\n") > 20
    for shell in (["sh"], ["bash", "--posix"], ["busybox", "sh"]):
        if shutil.which(shell[0]):
            done = subprocess.run([*shell, "-n"], input=script, capture_output=True, text=True, check=False)
            assert (done.returncode, done.stderr) == (0, "")


def test_a_job_of_root_gets_both_keys_in_one_account() -> None:
    """Two entries of one name would exclude each other."""
    keys, plan = keys_for(), plan_of(owner=Owner("root", 0, 0, "root", "/root"))
    expected = {"name": "root", "ssh_authorized_keys": [keys.admin.public, keys.user.public]}
    assert told(plan)["users"] == [expected]


def test_the_search_domain_makes_full_names() -> None:
    """In the host name and in what the resolver tries."""
    site = Settings(search_domain="cluster.site")
    assert told(plan_of(), site=site)["fqdn"] == "j17-3-r0.cluster.site"
    ethernets = json.loads(network_config(plan_of().guests[0], site))["ethernets"]
    assert ethernets["eth0"]["nameservers"] == {"search": ["cluster.site"]}


def test_the_sites_name_servers_stand_in_place_of_dhcps() -> None:
    """For the image's own means, and for the program that does without them."""
    site = Settings(name_server=("10.0.0.53", "fd00::53"), domain="site.example")
    card = json.loads(network_config(plan_of().guests[0], site))["ethernets"]["eth0"]
    assert card["dhcp4-overrides"] == {"use-dns": False}
    assert card["nameservers"] == {"addresses": ["10.0.0.53", "fd00::53"], "search": ["site.example"]}
    expected = ["sh", "-c", program("resolver"), "sh", "site.example", "10.0.0.53", "fd00::53"]
    assert told(plan_of(), site=site)["bootcmd"][1] == expected
    assert len(told(plan_of())["bootcmd"]) == 1


def test_names_and_search_may_be_in_different_domains() -> None:
    """One of the two stands for both where there is only one."""
    site = Settings(domain="guests.example", search_domain="site.example")
    assert told(plan_of(), site=site)["fqdn"] == "j17-3-r0.guests.example"
    assert told(plan_of(), site=site)["bootcmd"][1][4:] == ["site.example"]


@pytest.mark.proves("sw_packages_debian", "sw_packages_redhat", "package_update")
def test_time_servers_and_software_are_told_as_the_site_says() -> None:
    """Software by the family of the image; nothing when the site says nothing."""
    site = Settings(
        ntp_server_1="ntp.site", ntp_server_2="10.0.0.1", sw_packages_debian=("nfs-common", "g++"),
        sw_packages_redhat=("nfs-utils",), package_update=True,
    )  # fmt: skip
    found = told(plan_of(), site=site)
    assert found["ntp"] == {"enabled": True, "servers": ["ntp.site", "10.0.0.1"]}
    assert (found["packages"], found["package_update"]) == (["nfs-common", "g++"], True)
    redhat = plan_of(image=dataclasses.replace(plan_of().image, distro=Distro.REDHAT))
    assert told(redhat, site=site)["packages"] == ["nfs-utils"]
    assert told(plan_of(), site=Settings(ntp_server_2="b"))["ntp"]["servers"] == ["b"]
    assert not {"ntp", "packages"} & set(told(plan_of()))


def test_network_config_finds_the_card_by_its_address_and_asks_dhcp() -> None:
    """Version 2, and nothing else in it."""
    expected = {"match": {"macaddress": "02:00:00:00:00:00"}, "set-name": "eth0", "dhcp4": True}
    found = json.loads(network_config(plan_of().guests[0], SETTINGS))
    assert found == {"version": 2, "ethernets": {"eth0": expected}}


def test_a_planned_address_is_stated_and_dhcp_is_not_asked() -> None:
    """With the router, if the site has one; name servers are the site's anyway."""
    guest = dataclasses.replace(plan_of().guests[0], static=StaticAddress("10.89.0.65", 24, "10.89.0.1"))
    card = json.loads(network_config(guest, Settings(name_server=("10.0.0.53",))))["ethernets"]["eth0"]
    assert card == {
        "match": {"macaddress": guest.mac}, "set-name": "eth0", "dhcp4": False,
        "addresses": ["10.89.0.65/24"], "routes": [{"to": "0.0.0.0/0", "via": "10.89.0.1"}],
        "nameservers": {"addresses": ["10.0.0.53"]},
    }  # fmt: skip
    alone = dataclasses.replace(guest, static=StaticAddress("10.89.0.65", 24))
    assert "routes" not in json.loads(network_config(alone, SETTINGS))["ethernets"]["eth0"]


def test_meta_data_names_an_instance_that_never_was() -> None:
    """Else cloud-init would take what an image brought along for its own earlier work."""
    guest = plan_of().guests[1]
    assert json.loads(meta_data(guest)) == {"instance-id": guest.uuid, "local-hostname": "j17-3-r1"}


def test_the_files_are_those_nocloud_looks_for() -> None:
    """Each ends with a line end: the micro guest reads lines."""
    plan = plan_of()
    files = seed_files(plan, plan.guests[0], keys_for(), "10.89.0.11", SETTINGS)
    assert files == {
        "meta-data": meta_data(plan.guests[0]),
        "user-data": user_data(plan, plan.guests[0], keys_for(), "10.89.0.11", SETTINGS),
        "network-config": network_config(plan.guests[0], SETTINGS),
    }
    assert all(
        text.endswith("}\n") and text.count("\n") == 1 + (name == "user-data") for name, text in files.items()
    )


numbers = st.integers(1, 2**31)
owners = st.builds(
    Owner, name=legal, group=legal, home=legal, shell=legal, uid=numbers, gid=numbers,
    groups=st.lists(st.tuples(legal, numbers), max_size=3, unique_by=lambda g: g[0]).map(tuple),
)  # fmt: skip


@given(owner=owners, node_address=legal)
@settings(max_examples=40)
def test_any_owner_is_found_again_by_json_and_yaml_readers(owner: Owner, node_address: str) -> None:
    """cloud-init reads it as YAML, the micro guest as JSON: both see the same object."""
    plan = plan_of(owner=owner)
    text = user_data(plan, plan.guests[0], keys_for(), node_address, SETTINGS)
    found = told(plan, node_address)
    assert yaml.safe_load(text) == found
    assert ruamel.yaml.YAML(typ="safe", pure=True).load(text) == found
    account = found["users"][-1]
    if owner.name != "root":
        assert (account["name"], account["uid"], account["primary_group"]) == (
            owner.name,
            owner.uid,
            owner.group,
        )
        assert (account["shell"], account.get("homedir", f"/home/{owner.name}")) == (owner.shell, owner.home)
        assert found["bootcmd"][0][4:8] == [owner.name, str(owner.uid), owner.group, str(owner.gid)]
    if node_address:
        assert found["bootcmd"][1][-1] == node_address


@given(char=illegal)
def test_a_control_character_is_refused_in_one_line(char: str) -> None:
    """In any value of the owner's."""
    for field in ("name", "group", "home", "shell"):
        plan = owned_by(**{field: f"a{char}b"})
        with pytest.raises(RequestError) as caught:
            user_data(plan, plan.guests[0], keys_for(), "", SETTINGS)
        assert "\n" not in str(caught.value)


@dataclasses.dataclass
class Tools:
    """A shell with pretended programs, each of which notes its arguments and ends with a given status."""

    shell: list[str]
    place: Path

    def run(self, words: list[str], **statuses: int) -> None:
        for name, status in statuses.items():
            tool = self.place / name
            note = f'{{ printf "%s" {name}; printf " [%s]" "$@"; echo; }} >>{self.place}/log'
            tool.write_text(f"#!/bin/sh\n{note}\nexit {status}\n")
            tool.chmod(0o755)
        path = {"PATH": f"{self.place}:/usr/bin:/bin"}
        subprocess.run([*self.shell, *words[1:]], env=path, check=True, timeout=20)

    def asked(self, at_least: int = 1) -> list[str]:
        """What was noted, once there are so many lines."""
        lines: list[str] = []
        for _ in range(500):
            if (log := self.place / "log").exists():
                lines = log.read_text().splitlines()
            if len(lines) >= at_least:
                break
            time.sleep(0.01)
        return lines


@pytest.fixture
def plain_tools(tmp_path: Path) -> Tools:
    """For what busybox has programs of its own for, which it prefers to those on the PATH."""
    return Tools(["sh"], tmp_path)


def test_the_node_is_greeted_until_it_answers(plain_tools: Tools) -> None:
    """In the background: the boot goes on meanwhile."""
    greet = told(plan_of(), "127.0.0.9")["bootcmd"][1]
    plain_tools.run(greet, ping=0, bash=0, sleep=0)
    assert plain_tools.asked() == ["ping [-c] [1] [-W] [1] [127.0.0.9]"]


def test_a_guest_without_ping_greets_its_node_too(plain_tools: Tools) -> None:
    """Any packet makes the node learn the guest's address; after a minute there is no more use in it."""
    greet = told(plan_of(), "127.0.0.9")["bootcmd"][1]
    plain_tools.run(greet, ping=127, bash=0, sleep=0)
    asked = plain_tools.asked(180)
    assert asked[:3] == [
        "ping [-c] [1] [-W] [1] [127.0.0.9]",
        "bash [-c] [: >/dev/udp/$0/9] [127.0.0.9]",
        "sleep [1]",
    ]
    assert asked == asked[:3] * 60


def read_back(image: bytes, **names: Any) -> dict[str, bytes]:
    """The files in the root directory; ``names`` says by which names (rr_path or joliet_path)."""
    iso = PyCdlib()
    iso.open_fp(io.BytesIO(image))
    found = {}
    kind = next(iter(names))
    for child in iso.list_children(**names):
        name = (
            child.rock_ridge.name().decode()
            if kind == "rr_path"
            else child.file_identifier().decode("utf-16-be")
        )
        if child.is_file():
            out = io.BytesIO()
            iso.get_file_from_iso_fp(out, **{kind: f"/{name}"})
            found[name] = out.getvalue()
    iso.close()
    return found


@given(
    texts=st.dictionaries(st.sampled_from([*FILES, "vendor-data"]), legal, min_size=1),
    size=st.sampled_from([0, 1, 2047, 2048, 2049, 70_000]),
)
@settings(max_examples=40)
def test_every_reader_of_the_image_finds_the_files(texts: dict[str, str], size: int) -> None:
    """By their Rock Ridge names (Linux) and their Joliet names, whatever their size."""
    texts = {name: text + "x" * size for name, text in texts.items()}
    image = seed_iso(texts)
    expected = {name: text.encode() for name, text in texts.items()}
    assert read_back(image, rr_path="/") == expected
    assert read_back(image, joliet_path="/") == expected


def test_the_image_has_the_label_nocloud_looks_for() -> None:
    """In the primary and in Joliet's descriptor; whole sectors, as a disk must have."""
    image = seed_iso(FILES)
    assert image[16 * 2048 + 40 : 16 * 2048 + 72] == b"cidata".ljust(32)
    assert len(image) % 2048 == 0


def test_the_system_recognizes_the_image(tmp_path: Path) -> None:
    """Blkid is what cloud-init asks."""
    (tmp_path / "seed.iso").write_bytes(seed_iso(FILES))
    blkid = shutil.which("blkid", path="/usr/sbin:/sbin:/usr/bin")
    if blkid is None:
        pytest.skip("blkid is not installed")
    done = subprocess.run(
        [blkid, "-p", "-o", "export", tmp_path / "seed.iso"], capture_output=True, text=True, check=True
    )
    assert {"LABEL=cidata", "TYPE=iso9660"} <= set(done.stdout.splitlines())


def test_equal_files_give_equal_bytes_at_any_time_in_any_zone(monkeypatch: pytest.MonkeyPatch) -> None:
    """No date of the clock is in it, so an image can be compared and made again."""
    image = seed_iso(FILES)
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + 100_000_000)
    monkeypatch.setenv("TZ", "Asia/Kathmandu")
    time.tzset()
    try:
        assert seed_iso(FILES) == image
    finally:
        monkeypatch.undo()
        time.tzset()
    year = time.gmtime().tm_year
    assert str(year).encode() not in image
    assert seed_iso({**FILES, "meta-data": "[]\n"}) != image


def test_one_image_takes_a_few_milliseconds_at_most() -> None:
    """Of processor time; a job may have hundreds of guests. About 0.4 ms when this was written."""
    files = seed_files(plan_of(), plan_of().guests[0], keys_for(), "10.89.0.11", SETTINGS)
    assert cpu_seconds(lambda: seed_iso(files), 20) < 0.003
