"""The texts that make a lab host."""

from __future__ import annotations

import tomllib

from hypothesis import given
from hypothesis import strategies as st

from nornir_torque_vm.config import settings
from nornir_torque_vm.lab import files
from nornir_torque_vm.lab.layout import lab_nodes
from nornir_torque_vm.lab.pki import LabKeys, NodeKeys
from nornir_torque_vm.model import KeyPair

NODES = lab_nodes(2)
KEYS = LabKeys(
    made=0.0,
    authority="authority",
    authority_key="secret of the authority",
    root=KeyPair("secret of root", "ssh-ed25519 ROOT lab-root"),
    nodes={
        node.name: NodeKeys(
            f"certificate of {node.name}",
            f"secret key of {node.name}",
            KeyPair(f"secret host key of {node.name}", f"ssh-ed25519 {node.name.upper()} {node.name}"),
        )
        for node in NODES
    },
)
TEXT = st.text(st.characters(exclude_categories=["Cs"]))
SETTINGS = st.dictionaries(
    st.from_regex(r"[a-z_]{1,20}", fullmatch=True),
    st.one_of(TEXT, st.integers(-(2**60), 2**60), st.booleans(), st.lists(TEXT)),
)


def tree(node: int = 0) -> dict[str, files.File]:
    """All files of a node, by path."""
    made = files.node_files(NODES[node], NODES, KEYS, "default", "")
    return {file.path: file for file in made}


@given(SETTINGS)
def test_toml_reads_back_as_it_was(values: dict[str, object]) -> None:
    """Whatever a test puts into the settings arrives, control characters and all."""
    assert tomllib.loads(files.toml(values)) == values


def test_the_package_accepts_the_settings_of_a_node() -> None:
    """No unknown setting, no wrong kind; what was proven decides between hardware and emulation."""
    emulated = settings.loads(files.settings(kvm=False, image="micro.qcow2", changes={"timeout": 7}))
    assert emulated.hypervisor_default == "qemu"
    assert emulated.timeout == 7
    assert emulated.node_uri.format(node="node2") == "qemu+tls://node2/system?pkipath=/etc/torque-vm/pki"
    assert settings.loads(files.settings(kvm=True, image="", changes={})).hypervisor_default == "kvm"


def test_every_file_with_a_secret_is_readable_by_root_only() -> None:
    """Private keys must not be readable by the lab's user."""
    secrets = [file for file in tree().values() if "secret" in file.text]
    assert len(secrets) == 3, "TLS key, host key, root's key; never the authority's"
    assert {file.mode for file in secrets} == {0o600}
    assert not any(KEYS.authority_key in file.text for file in tree().values())


def test_a_node_gets_its_own_keys_and_everybodys_public_ones() -> None:
    """Pinned by name and by address, so that either works with strict checking."""
    node2 = tree(1)
    assert node2["/etc/torque-vm/pki/clientkey.pem"].text == "secret key of node2"
    assert node2["/etc/torque-vm/ssh/host_key"].text == "secret host key of node2"
    assert node2["/etc/torque-vm/ssh/known_hosts"].text == (
        "node1,10.89.0.11 ssh-ed25519 NODE1 node1\nnode2,10.89.0.12 ssh-ed25519 NODE2 node2\n"
    )


def test_hosts_of_different_nodes_and_labs_have_different_uuids() -> None:
    """The same node has the same one at every start; libvirt would make one up each time."""
    first, second = NODES
    texts = [
        files.libvirtd_conf(first, "a"),
        files.libvirtd_conf(second, "a"),
        files.libvirtd_conf(first, "b"),
    ]
    assert len({text.splitlines()[0] for text in texts}) == 3
    assert files.libvirtd_conf(first, "a") == texts[0]


def test_accounts_are_complete_and_unique() -> None:
    """Each account's main group exists, and so does the user libvirt was compiled for."""
    users = [line.split(":") for line in files.passwd().splitlines()]
    groups = {int(line.split(":")[2]) for line in files.group().splitlines()}
    assert all(len(fields) == 7 for fields in users)
    assert len({fields[2] for fields in users}) == len(users)
    assert {int(fields[3]) for fields in users} <= groups
    assert {"root", "sshd", "libvirt-qemu", "alice"} <= {fields[0] for fields in users}
    assert [line.split(":")[0] for line in files.shadow().splitlines()] == [fields[0] for fields in users]


def test_no_account_has_a_password() -> None:
    """Only keys open a node."""
    assert {line.split(":")[1] for line in files.shadow().splitlines()} == {"*"}


def test_ssh_asks_nobody_and_trusts_nobody_new() -> None:
    """A changed or unknown host key ends the connection."""
    config = tree()["/root/.ssh/config"].text
    assert "StrictHostKeyChecking yes" in config
    assert "BatchMode yes" in config
    assert "Host node1 10.89.0.11 node2 10.89.0.12\n" in config


def test_every_file_has_a_directory_that_is_made() -> None:
    """Each parent has its mode before anything is put into it, whatever the caller's umask is."""
    made = [""]
    for path in [*(directory.path for directory in files.DIRECTORIES), *tree()]:
        assert path.rpartition("/")[0] in made, path
        made.append(path)
