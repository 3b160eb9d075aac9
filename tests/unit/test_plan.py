"""The plan: pure, complete, and the same wherever it is made."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nornir_torque_vm import identity, model
from nornir_torque_vm.components.base import Part
from nornir_torque_vm.components.devices import Extras
from nornir_torque_vm.config.kinds import Hosts
from nornir_torque_vm.config.settings import Settings
from nornir_torque_vm.errors import Blame, InventoryError, RequestError, StateError
from nornir_torque_vm.model import Distro, Image, Job, Node, Owner, Plan, Shape
from nornir_torque_vm.plan import make_plan, plan_from_json, plan_to_json
from nornir_torque_vm.request import Request

vars(model).update(Part=Part, Extras=Extras)  # for hypothesis: the model knows them in its annotations only

MiB, GiB = 1 << 20, 1 << 30
OWNER = Owner("alice", 2001, 2001, "users", "/home/alice", groups=(("chem", 3000), ("gpu", 3001)))
JOB = Job("17[3].head", "head", OWNER, attempt=2, nonce="0badcafe")
IMAGE = Image("debian.qcow2", "/pool/debian.qcow2", virtual_size=10 * GiB)
NODES = (Node("n2", 4, "10.0.0.2"), Node("n1", 1))


def plan_of(request: Request | None = None, settings: Settings | None = None, **changes: Any) -> Plan:
    arguments: dict[str, Any] = {"job": JOB, "nodes": NODES, "image": IMAGE, **changes}
    return make_plan(request or Request(), settings or Settings(), **arguments)


def test_ranks_run_through_the_nodes_in_nodefile_order_block_by_block() -> None:
    """n2 comes first because the nodefile says so; slots do not matter."""
    plan = plan_of(Request(vms_per_node=2))
    assert [(guest.rank, guest.node, guest.index) for guest in plan.guests] == [
        (0, "n2", 0), (1, "n2", 1), (2, "n1", 0), (3, "n1", 1),
    ]  # fmt: skip
    assert (plan.job, plan.nodes, plan.image) == (JOB, NODES, IMAGE)


def test_every_name_and_number_of_a_guest_comes_from_the_job_and_its_rank() -> None:
    """All of them through ``identity``, so that whoever knows the job can compute them."""
    for guest in plan_of(Request(vms_per_node=3)).guests:
        assert guest.name == f"j17-3-r{guest.rank}"
        assert guest.mac == identity.mac_address("head", "17[3].head", guest.rank)
        assert guest.uuid == identity.guest_uuid("head", "17[3].head", 2, "0badcafe", guest.rank)
        assert guest.domain == identity.domain_name(JOB, guest.rank)


def test_the_shape_is_what_was_asked_for() -> None:
    """Every key of the request that describes hardware."""
    asked = Request(vcpus=3, ram=96 * MiB, arch="aarch64", hypervisor="qemu", vms_per_node=1)
    settings = Settings(vcpus_default=7, ram_default=GiB, arch_default="i686", vms_per_node_default=2)
    plan = plan_of(asked, settings)
    assert {guest.shape for guest in plan.guests} == {Shape(3, 96 * MiB, "aarch64", "qemu")}
    assert len(plan.guests) == 2


def test_what_was_not_asked_for_is_the_sites_default() -> None:
    """Each default on its own."""
    settings = Settings(
        vcpus_default=7,
        ram_default=3 * GiB,
        arch_default="i686",
        vms_per_node_default=2,
        hypervisor_default="qemu",
    )
    plan = plan_of(Request(), settings)
    assert {guest.shape for guest in plan.guests} == {Shape(7, 3 * GiB, "i686", "qemu")}
    assert len(plan.guests) == 4
    assert {guest.shape for guest in plan_of().guests} == {Shape(1, 2 * GiB, "x86_64", "kvm")}


def test_the_image_stays_as_it_was_read() -> None:
    """Its family was settled when it was chosen; the request's key is not consulted again."""
    assert plan_of(Request(distro=Distro.OSV)).image == IMAGE


@pytest.mark.proves("disabled_hosts_list")
def test_no_guest_runs_on_a_host_that_is_switched_off() -> None:
    """Whatever the scheduler did; the site has to mend it, and the node is named."""
    settings = Settings(disabled_hosts_list=Hosts(f"x|{NODES[1].name}"))
    with pytest.raises(InventoryError) as caught:
        plan_of(settings=settings)
    assert caught.value.blame is Blame.SITE
    assert str(caught.value) == (
        f"node {NODES[1].name}: VM jobs are switched off here; take the node property for VM jobs "
        "from the node, or the node from disabled_hosts_list"
    )


def test_a_job_without_nodes_is_an_error() -> None:
    """Not an empty plan that would be ready at once."""
    with pytest.raises(InventoryError) as caught:
        plan_of(nodes=())
    assert str(caught.value) == "job 17[3].head: the job has no node; look at its nodefile"


def test_more_guests_per_node_than_the_site_allows_are_refused() -> None:
    """The limit itself is fine."""
    settings = Settings(max_vms_per_node=3)
    assert len(plan_of(Request(vms_per_node=3), settings).guests) == 6
    with pytest.raises(RequestError) as caught:
        plan_of(Request(vms_per_node=4), settings)
    assert str(caught.value) == (
        "vms_per_node=4 is more than the 3 this site allows; ask for fewer guests per node, on more nodes"
    )


nodes = st.lists(st.sampled_from([f"n{n}" for n in range(20)]), min_size=1, max_size=12, unique=True).map(
    lambda names: tuple(Node(name) for name in names)
)
job_ids = st.one_of(
    st.builds("{}.head".format, st.integers(0, 10**6)),
    st.builds("{}[{}].head".format, st.integers(0, 999), st.integers(0, 999)),
)
jobs = st.builds(Job, job_ids, st.sampled_from(["head", "other"]), st.just(OWNER), st.integers(1, 99))


@given(jobs, nodes, st.integers(1, 8))
def test_a_plan_is_a_function_of_its_inputs(job: Job, nodes: tuple[Node, ...], per_node: int) -> None:
    """Same inputs, same plan; ranks 0..n-1; no two guests share a name, MAC, uuid or domain."""
    plan = plan_of(Request(vms_per_node=per_node), job=job, nodes=nodes)
    assert plan == plan_of(Request(vms_per_node=per_node), job=job, nodes=nodes)
    assert [guest.rank for guest in plan.guests] == list(range(len(nodes) * per_node))
    for attribute in ("name", "mac", "uuid", "domain"):
        assert len({getattr(guest, attribute) for guest in plan.guests}) == len(plan.guests)
    for node in nodes:
        on_node = plan.on(node.name)
        assert [guest.index for guest in on_node] == list(range(per_node))
        assert [guest.rank - on_node[0].rank for guest in on_node] == list(range(per_node))


@given(st.from_type(Plan))
def test_a_plan_survives_json_exactly(plan: Plan) -> None:
    """Whatever its values are: nothing is lost, reordered or changed in type."""
    again = plan_from_json(plan_to_json(plan))
    assert again == plan
    assert repr(again) == repr(plan)


def test_paths_that_are_no_utf8_survive_json() -> None:
    """A home directory is bytes to the kernel; Python carries them as lone surrogates."""
    owner = dataclasses.replace(OWNER, home="/home/\udce4")
    plan = plan_of(job=dataclasses.replace(JOB, owner=owner))
    assert plan_from_json(plan_to_json(plan)) == plan


def test_the_json_form_is_an_interface() -> None:
    """Version first, one value a line, a newline at the end."""
    text = plan_to_json(plan_of())
    assert text.startswith('{\n "version": 1,\n "job": {\n')
    assert text.endswith("}\n")
    assert list(json.loads(text)) == [
        "version", "job", "nodes", "guests", "image", "user_files", "user_dirs", "components",
        "disk", "added",
    ]  # fmt: skip


@pytest.mark.parametrize("version", [0, 2, "1", None])
def test_another_version_of_the_form_is_refused(version: object) -> None:
    """A node that was updated in the middle of a job says so instead of guessing."""
    raw = json.loads(plan_to_json(plan_of()))
    with pytest.raises(StateError) as caught:
        plan_from_json(json.dumps({**raw, "version": version}))
    assert str(caught.value) == (
        f"the plan has form {version!r}, this program reads 1; "
        "the job was started by another version: destroy its guests and start it again"
    )


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("", "JSONDecodeError"), ("{", "JSONDecodeError"), ("[]", "TypeError"), ("1", "AttributeError"),
        ("{}", "KeyError"), ('{"version": 1}', "TypeError"),
    ],
)  # fmt: skip
def test_a_damaged_plan_is_told_in_one_sentence(text: str, kind: str) -> None:
    """Cut off, empty or something else altogether; destroying needs no plan, so that is the way out."""
    with pytest.raises(StateError) as caught:
        plan_from_json(text)
    assert str(caught.value) == f"the plan cannot be read ({kind}); destroy the job's guests by its id"


@pytest.mark.parametrize("part", ["job", "nodes", "guests", "image"])
def test_a_plan_with_a_missing_or_an_unknown_part_is_damaged(part: str) -> None:
    """At the top and one level down."""
    raw = json.loads(plan_to_json(plan_of()))
    inner = raw[part][0] if isinstance(raw[part], list) else raw[part]
    inner["surprise"] = 1
    with pytest.raises(StateError, match=r"the plan cannot be read \(TypeError\)"):
        plan_from_json(json.dumps(raw))
    del raw[part]
    with pytest.raises(StateError, match=r"the plan cannot be read \(TypeError\)"):
        plan_from_json(json.dumps(raw))
