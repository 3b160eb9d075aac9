"""What a real Debian guest is, read from inside: one job with other values than the defaults, a test a fact.

Another fact is a line in ``FACTS`` (the job's owner looks) or ``ROOT_FACTS`` (root looks, at the end of the
boot), and a test that reads it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import subprocess
import threading
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from driving import Job, leftovers, shell, started, wait_for
from nfs_server import nfs_server

from nornir_torque_vm.guestimages import build
from nornir_torque_vm.lab import Lab
from nornir_torque_vm.lab.files import USER
from nornir_torque_vm.lab.layout import cache_dir
from nornir_torque_vm.model import FileRef
from nornir_torque_vm.qcow2 import HEADER_BYTES, parse_header
from nornir_torque_vm.request import parse_request

pytestmark = [pytest.mark.lab, pytest.mark.guest, pytest.mark.timeout(1200)]

PATIENCE = 600.0
"""Seconds for a guest under emulation."""
GROUP = ("project", 3003)
METADATA = "#cloud-config\ntimezone: Asia/Tokyo\n"
SITE_METADATA = "/etc/torque-vm/metadata.yaml"
IMAGE = "debian.qcow2"
MEMORY = "/var/ramdisk"
DATA = f"{USER.home}/site.img"
DATA_BYTES = 32 << 20
VARIABLE = ("PARAM", 'it\'s $HOME; "x"')
SETTINGS: dict[str, object] = {
    "img_default": IMAGE,
    "disk_default": DATA,
    "filesystem_type_default": "ramdisk",
    "ramdisk_dir": MEMORY,
    "ramdisk_mb": 768,
    "timeout": PATIENCE,
    "prologalarm": PATIENCE + 60,
    "name_server": ["10.89.0.53", "10.89.0.54"],
    "search_domain": "site.example",
    "domain": "guests.example",
    "ntp_server_1": "ntp.site.example",
    "ntp_server_2": "10.89.0.55",
    "metadata_file": SITE_METADATA,
    "user_files": "nfs",
    "work_dirs": ["/project"],
    "software_dirs": ["/opt=/opt-hpc"],
    "nfs_sources": ["node2:/export/home=/home", "node2:/export/project=/project", "node2:/export/opt=/opt"],
}
REQUEST = "vcpus=2,ram=640M"
FACTS = {
    "id": "id",
    "home": "pwd; cat input; echo made >made",
    "hostname": "hostname; hostname -f",
    "hosts": "cat /etc/hosts",
    "resolv": "cat /etc/resolv.conf",
    "ntp": "cat /etc/systemd/timesyncd.conf.d/cloud-init.conf",
    "timezone": "date +%Z; readlink /etc/localtime",
    "distro": "echo $DISTRO; . /etc/os-release; echo $ID",
    "debian": "getent passwd debian; id -Gn debian; ls -d /home/debian/.ssh 2>&1",
    "mounts": "cat /proc/mounts",
    "software": "cat /opt-hpc/tool; touch /opt-hpc/x 2>&1; ls -d /opt",
    "cpus": "nproc",
    "memory": "grep MemTotal: /proc/meminfo",
    "disks": "lsblk -bdnro NAME,TYPE,SIZE",
    "data": "echo kept >/data/file; stat -fc %T /data; stat -c %U /data",
    "mac": "cat /sys/class/net/e*/address",
    "env": "env",
    "sudo": "sudo -n true 2>&1",
}
"""Name → what the job runs for it."""
ROOT_FACTS = {
    "shadow": f"getent shadow debian root {USER.name}",
    "sudoers": "ls /etc/sudoers.d; grep -rh debian /etc/sudoers /etc/sudoers.d",
    "keys": "cat /root/.ssh/authorized_keys",
    "user_keys": f"cat /home/{USER.name}/.ssh/authorized_keys",
    "host_key": "awk 1 /etc/ssh/ssh_host_*_key.pub",
    "timesyncd": "systemctl is-active systemd-timesyncd",
    "resolv_before": "cat /etc/resolv.conf",
}
"""Name → what root runs for it, before the files of the user are there."""
ROOT_PLACE = "/var/tmp/facts"


def gathered(facts: Mapping[str, str]) -> str:
    """Shell text that prints every fact under its name."""
    return "".join(f"echo '=== {name}'\n{{ {command}\n}}\n" for name, command in facts.items())


@dataclasses.dataclass(frozen=True)
class Truth:
    """What the job said, by fact; and what the nodes know of it."""

    facts: dict[str, list[str]]
    exit_code: int
    errors: str
    guest: str
    domain: ET.Element
    """From ``virsh dumpxml``, while it ran."""
    home: Path
    data: Path
    left: dict[str, list[str]]


@pytest.fixture(scope="module")
def truth(lab_possible: None) -> Iterator[Truth]:
    """One job for all tests, since such a guest takes a minute."""
    build("debian", cache_dir())
    with contextlib.ExitStack() as stack:
        lab = Lab("truth", nodes=2, settings=SETTINGS)
        stack.callback(lab.down)
        lab.up()
        top = stack.enter_context(nfs_server(lab, "node2", "/srv/export", "/export"))
        home = top / USER.home[1:]
        for folder in (home, top / "project", top / "opt"):
            folder.mkdir(parents=True)
        os.chown(home, USER.uid, USER.gid)
        home.chmod(0o700)
        (home / "input").write_text("from home\n")
        (top / "opt/tool").write_text("from opt\n")
        job = told(lab)
        make_disks(lab)
        yield outcome(lab, job, home)


def told(lab: Lab) -> Job:
    """The job, with the site's and the user's metadata in place; it has not run yet."""
    for node in lab.node_names:
        root = lab.root(node)
        collect = f"{{ {gathered(ROOT_FACTS)} }} >{ROOT_PLACE} 2>&1; chmod 644 {ROOT_PLACE}"
        (root / SITE_METADATA[1:]).write_text(
            json.dumps({"runcmd": [["sh", "-c", collect]], "timezone": "UTC"})
        )
        (root / SITE_METADATA[1:]).chmod(0o600)
        with (root / "etc/group").open("a") as file:
            file.write(f"{GROUP[0]}:x:{GROUP[1]}:{USER.name}\nsudo:x:27:{USER.name}\n")
    (lab.root("node1") / "srv/metadata.yaml").write_text(METADATA)
    job = Job(lab, f"{gathered(FACTS)}cat {ROOT_PLACE}; exit 7", variables=(VARIABLE,))
    ref = FileRef("/srv/metadata.yaml", hashlib.sha256(METADATA.encode()).hexdigest())
    wanted = dataclasses.replace(parse_request([REQUEST]), metadata=ref)
    job.submission = dataclasses.replace(job.submission, resources=(f"other={wanted.encode()}",))
    job.alarm = PATIENCE + 60
    return job


def make_disks(lab: Lab) -> None:
    """Memory for disks on every node, and the disk that the site gives its jobs."""
    for node in lab.node_names:
        options = f"size={SETTINGS['ramdisk_mb']}m,mode=0711,nosuid,nodev,noexec"
        shell(lab, node, f"mkdir {MEMORY}; mount -t tmpfs -o {options} tmpfs {MEMORY}")
    shell(
        lab,
        "node1",
        f"truncate -s {DATA_BYTES} {DATA}; mkfs.ext4 -q {DATA}; chown {USER.uid}:{USER.gid} {DATA}",
    )


def outcome(lab: Lab, job: Job, home: Path) -> Truth:
    """Run the job, look at its domain meanwhile, and read what it printed."""
    texts: list[str] = []
    looking = threading.Thread(target=lambda: texts.append(dumped(lab, job)), daemon=True)
    looking.start()
    ended = job.run()
    looking.join(60)
    assert texts, job.errors
    facts: dict[str, list[str]] = {}
    for line in map(str.strip, job.lines):
        if line.startswith("=== "):
            facts[line[4:]] = []
        elif facts:
            facts[list(facts)[-1]].append(line)
    number = ended.outcome.job_id.partition(".")[0]
    domain = ET.fromstring(texts[0])  # noqa: S314 - libvirt's own
    data = lab.root("node1") / DATA[1:]
    return Truth(facts, ended.exit_code, job.errors, f"j{number}-r0", domain, home, data, leftovers(lab))


def dumped(lab: Lab, job: Job) -> str:
    """What libvirt says of the job's guest, once it runs; it boots for longer than this takes."""
    wait_for(lambda: started(job) or job.over, PATIENCE)
    return shell(lab, "node1", "virsh -c qemu:///system dumpxml $(virsh -c qemu:///system list --name)")


def test_the_job_ran_and_left_nothing(truth: Truth) -> None:
    """Its exit code is the script's."""
    assert (truth.exit_code, truth.errors, truth.left) == (7, "", {})
    assert list(truth.facts) == [*FACTS, *ROOT_FACTS]


def test_the_owner_is_who_they_are_on_the_nodes(truth: Truth) -> None:
    """Numbers and groups; sudo's is left out, although the image has one."""
    uid, gid = USER.uid, USER.gid
    own = f"uid={uid}({USER.name}) gid={gid}({USER.group})"
    assert truth.facts["id"] == [f"{own} groups={gid}({USER.group}),{GROUP[1]}({GROUP[0]})"]


@pytest.mark.proves("user_files", "nfs_sources", "work_dirs")
def test_home_and_work_are_the_users(truth: Truth) -> None:
    """Mounted where the nodes have them; what the job writes stays."""
    assert truth.facts["home"] == [USER.home, "from home"]
    assert (truth.home / "made").read_text() == "made\n"
    at = [line.split()[1] for line in truth.facts["mounts"] if " nfs4 " in line]
    assert {USER.home, "/project", "/opt-hpc"} <= set(at)


@pytest.mark.proves("software_dirs")
def test_software_of_the_nodes_is_at_another_path_and_read_only(truth: Truth) -> None:
    """The guest's own /opt is its own."""
    said = truth.facts["software"]
    assert said[0] == "from opt"
    assert said[1].endswith("Read-only file system")
    assert said[2] == "/opt"
    (options,) = [line.split()[3] for line in truth.facts["mounts"] if " /opt-hpc " in line]
    assert {"ro", "nosuid", "nodev"} <= set(options.split(","))


@pytest.mark.proves("domain")
def test_the_host_name_is_in_the_sites_domain(truth: Truth) -> None:
    """Short by itself, full when asked for."""
    assert truth.facts["hostname"] == [truth.guest, f"{truth.guest}.guests.example"]


def test_the_guest_knows_itself_by_its_address(truth: Truth) -> None:
    """First, before any loopback address."""
    known = [line.split() for line in truth.facts["hosts"] if truth.guest in line.split()]
    assert known[0][0].startswith("10.")
    assert known[0][1:] == [f"{truth.guest}.guests.example", truth.guest]


@pytest.mark.proves("name_server", "search_domain")
def test_names_are_asked_of_the_sites_servers(truth: Truth) -> None:
    """In the site's domain, and of no server that DHCP named."""
    expected = ["search site.example", "nameserver 10.89.0.53", "nameserver 10.89.0.54"]
    assert truth.facts["resolv"] == expected
    assert truth.facts["resolv_before"] == expected


@pytest.mark.proves("ntp_server_1", "ntp_server_2")
def test_the_clock_follows_the_sites_servers(truth: Truth) -> None:
    """By the client the image has, which runs."""
    assert "NTP=ntp.site.example 10.89.0.55" in truth.facts["ntp"]
    assert truth.facts["timesyncd"] == ["active"]


@pytest.mark.proves("metadata", "metadata_file")
def test_metadata_of_the_site_and_of_the_user_had_their_effect(truth: Truth) -> None:
    """The user's timezone counts before the site's, whose command ran as root."""
    assert truth.facts["timezone"] == ["JST", "/usr/share/zoneinfo/Asia/Tokyo"]
    assert set(ROOT_FACTS) <= set(truth.facts)


@pytest.mark.proves("img_default")
def test_the_job_is_told_what_sort_of_guest_it_is_in(truth: Truth) -> None:
    """In vTorque's word."""
    assert truth.facts["distro"] == ["SLG", "debian"]


def test_the_images_own_sudo_user_is_locked_out(truth: Truth) -> None:
    """It was there, with a rule of sudo's; now it has neither password, shell, group nor rule."""
    account, groups, ssh = truth.facts["debian"]
    assert account.split(":")[6] == "/usr/sbin/nologin"
    assert groups == "debian"
    assert "No such file" in ssh
    shadow = {line.split(":")[0]: line.split(":") for line in truth.facts["shadow"]}
    assert shadow["debian"][1].startswith("!")
    assert shadow["debian"][7] == "1"
    assert not [line for line in truth.facts["sudoers"] if "debian" in line or "cloud-init" in line]


def test_nobody_gets_in_with_a_password_and_the_owner_is_not_root(truth: Truth) -> None:
    """Neither by sudo nor by a password of theirs or root's."""
    shadow = {line.split(":")[0]: line.split(":") for line in truth.facts["shadow"]}
    assert all(shadow[name][1][0] in "!*" for name in ("root", USER.name))
    assert truth.facts["sudo"][0].startswith("sudo: ")


def test_each_account_opens_with_one_key_and_the_host_key_is_ours(truth: Truth) -> None:
    """The administrator's key opens root, the job's its owner; no key of the image's is left."""
    (admin,), (user,), (host,) = (truth.facts[name] for name in ("keys", "user_keys", "host_key"))
    assert len({line.split()[1] for line in (admin, user, host)}) == 3
    assert {line.split()[0] for line in (admin, user, host)} == {"ssh-ed25519"}


@pytest.mark.proves("vcpus")
def test_the_guest_has_the_processors_asked_for(truth: Truth) -> None:
    """Two of them."""
    assert truth.facts["cpus"] == ["2"]


@pytest.mark.proves("ram")
def test_the_guest_has_the_memory_asked_for(truth: Truth) -> None:
    """640M, less what its kernel keeps for itself before it counts."""
    _, size, unit = truth.facts["memory"][0].split()
    assert unit == "kB"
    assert 0.8 * (640 << 10) < int(size) < 640 << 10


@pytest.mark.proves("disk_default")
def test_the_guest_has_its_disk_its_seed_and_the_sites_and_no_other(truth: Truth) -> None:
    """The first is as large as the image says; what the job writes to the last one stays."""
    with (cache_dir() / "images/pool" / IMAGE).open("rb") as file:
        size = parse_header(file.read(HEADER_BYTES)).virtual_size
    own, seed, *more = truth.facts["disks"]
    assert (own, more) == (f"vda disk {size}", [f"vdc disk {DATA_BYTES}"])
    assert seed.startswith("vdb disk ")
    assert 0 < int(seed.split()[2]) < 1 << 20
    assert truth.facts["data"] == ["ext2/ext3", USER.name]
    read = subprocess.run(["debugfs", "-R", "cat /file", truth.data], capture_output=True, check=True)
    assert read.stdout == b"kept\n"


@pytest.mark.proves("filesystem_type_default", "ramdisk_dir")
def test_libvirt_knows_the_guest_as_it_knows_itself(truth: Truth) -> None:
    """Processors, memory, disks and network card; its own disk is in the node's memory."""
    domain = truth.domain
    memory = domain.find("memory")
    assert memory is not None
    assert (domain.findtext("vcpu"), memory.text, memory.get("unit")) == ("2", str(640 << 10), "KiB")
    sources = {
        disk.find("target").get("dev"): disk.find("source").get("file")  # type: ignore[union-attr]
        for disk in domain.findall("devices/disk")
    }
    assert list(sources) == ["vda", "vdb", "vdc"]
    assert str(sources["vda"]).startswith(f"{MEMORY}/")
    cards = [card.get("address") for card in domain.findall("devices/interface/mac")]
    assert cards == truth.facts["mac"]


def test_the_job_has_the_environment_of_its_batch_system(truth: Truth) -> None:
    """Its own, as on a node, with what ``qsub -v`` was given; nothing of the hook's."""
    env = dict(line.partition("=")[::2] for line in truth.facts["env"])
    number = truth.guest.partition("-")[0].removeprefix("j")
    assert env["PBS_JOBID"].partition(".")[0] == number
    assert (env["HOME"], env["USER"], env["DISTRO"]) == (USER.home, USER.name, "SLG")
    assert env[VARIABLE[0]] == VARIABLE[1]
    assert env["PBS_NODEFILE"]
    assert not {"TORQUE_VM_SETTINGS", "PYTHONPATH", "VIRTUAL_ENV"} & set(env)
