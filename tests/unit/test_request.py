"""Requests: read from -vm, carried in the job, read again by root from hostile text."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from nornir_torque_vm.errors import Blame, RequestError
from nornir_torque_vm.model import Distro, FileRef
from nornir_torque_vm.request import Request, find_in_resources, parse_request

NAMES = st.text(st.sampled_from("aZ0._-+ %=:@'\"$é\udcff"), min_size=1, max_size=9).filter(
    lambda name: name not in {".", ".."} and name == name.strip()
)
PATHS = st.lists(NAMES, min_size=1, max_size=3).map(lambda names: f"/{'/'.join(names)}")
FILES = st.builds(FileRef, PATHS, st.binary(min_size=32, max_size=32).map(bytes.hex))
requests = st.builds(
    Request,
    img=st.none() | st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,30}", fullmatch=True) | PATHS,
    distro=st.none() | st.sampled_from(Distro),
    arch=st.none() | st.from_regex(r"[a-z][a-z0-9_]{0,31}", fullmatch=True),
    vcpus=st.none() | st.integers(1, 1024),
    ram=st.none() | st.integers(1024, 1 << 34).map(lambda kibibytes: kibibytes * 1024),
    vms_per_node=st.none() | st.integers(1, 1024),
    hypervisor=st.none() | st.sampled_from(["kvm", "skvm", "qemu"]),
    vcpu_pinning=st.none() | st.booleans() | FILES,
    vm_prologue=st.none() | FILES,
    vm_epilogue=st.none() | FILES,
    metadata=st.none() | FILES,
    disk=st.none() | PATHS,
    fs_type=st.none() | st.sampled_from(["sharedfs", "ramdisk"]),
    iocm=st.none() | st.booleans(),
    iocm_min_cores=st.none() | st.integers(0, 1024),
    iocm_max_cores=st.none() | st.integers(0, 1024),
    vrdma=st.none() | st.booleans(),
    unclot=st.none() | st.booleans(),
    unclot_shmem=st.none() | st.integers(1, 1 << 20).map(lambda mebibytes: mebibytes << 20),
)


def test_keys_and_values_of_several_options() -> None:
    """All -vm options together make one request."""
    request = parse_request(["img=debian.qcow2,vcpus=2", "ram=512M", "distro=centos,hypervisor=qemu"])
    assert request == Request(
        img="debian.qcow2", vcpus=2, ram=512 << 20, distro=Distro.REDHAT, hypervisor="qemu"
    )


def test_the_last_value_of_a_key_wins() -> None:
    """Within one option and from option to option."""
    assert parse_request(["vcpus=1,vcpus=2", "ram=1G", "ram=2G"]) == Request(vcpus=2, ram=2 << 30)


def test_keys_are_read_in_any_case_and_blanks_around_do_not_count() -> None:
    """A quoted ``"vcpus=1, RAM = 2G"`` is as good."""
    assert parse_request([" VCPUS=1, Ram = 2G "]) == Request(vcpus=1, ram=2 << 30)


def test_only_blanks_around_are_forgiven() -> None:
    """A control character is part of the key or value and refused with it."""
    for text in ("\nvcpus=1", "vcpus=1\x1f", "\x1f"):
        with pytest.raises(RequestError):
            parse_request([text])


@pytest.mark.parametrize("texts", [[], [""], ["", "  "]])
def test_nothing_asked_is_an_empty_request(texts: list[str]) -> None:
    """Every key is left to the site's defaults."""
    assert parse_request(texts) == Request()
    assert Request() == Request(None, None, None, None, None, None, None)


def test_a_value_may_hold_an_equals_sign() -> None:
    """The first one ends the key; here the value is refused as it stands, uncut."""
    with pytest.raises(RequestError, match=r"^-vm key img is 'a=b=c' but must be the name of a file"):
        parse_request(["img=a=b=c"])


@pytest.mark.parametrize(
    ("text", "item"), [("vcpus", "'vcpus'"), ("vcpus=1,", "''"), (",", "''"), ("a b", "'a b'")]
)
def test_an_item_without_equals_sign_is_refused(text: str, item: str) -> None:
    """The message shows the item and the form."""
    with pytest.raises(RequestError) as caught:
        parse_request([text])
    assert str(caught.value) == (
        f"-vm has {item}, which is not key=value; write -vm key=value,key=value without blanks"
    )


def test_an_unknown_key_names_the_nearest() -> None:
    """A slip of the finger is repaired by reading one line."""
    with pytest.raises(RequestError) as caught:
        parse_request(["VMS_PER_NOD=2"])
    assert str(caught.value) == "unknown -vm key 'VMS_PER_NOD'; did you mean vms_per_node?"
    assert caught.value.blame is Blame.USER


def test_an_empty_key_lists_the_keys() -> None:
    """Nothing is similar to nothing."""
    with pytest.raises(RequestError, match=r"^unknown -vm key ''; known are img, distro, arch, "):
        parse_request(["=2"])


@given(st.lists(st.text(max_size=40), max_size=3))
@example(["vcpus=\ud800"])
@example(["img=\x1b[2J"])
def test_any_text_is_a_request_or_a_request_error(texts: list[str]) -> None:
    """Hostile text gives one printable line and nothing else."""
    try:
        parse_request(texts)
    except RequestError as error:
        said = str(error)
        assert said.isprintable()


def test_the_encoded_form() -> None:
    """Keys in the table's order after the version; nothing but safe characters."""
    request = Request(vcpus=2, img="a+b_c.qcow2", ram=192 << 20, distro=Distro.REDHAT)
    assert request.encode() == "vm1:img=a%2Bb_c.qcow2:distro=redhat:ram=192M:vcpus=2"
    assert Request().encode() == "vm1"
    assert Request.decode("vm1") == Request()


@given(requests)
def test_a_request_rides_through_the_job_unchanged(request: Request) -> None:
    """Encoding and decoding are inverse; the text has no character that TORQUE or a shell would touch."""
    text = request.encode()
    assert Request.decode(text) == request
    assert not set(text) & set(", \t\n'\"\\$;&|<>()`*?[]{}!#+")
    assert find_in_resources(f"nodes=2:ppn=2,other={text},walltime=00:05:00") == request


def test_awkward_text_is_encoded_by_bytes() -> None:
    """What is not a letter, digit or ``. _ ~ / -`` travels as its bytes, undecodable ones too."""
    from nornir_torque_vm import request

    awkward = "a b,c:d%=+\n'\"é€\udcff~/.-_Z9"
    quoted = request._quote(awkward)
    assert quoted == "a%20b%2Cc%3Ad%25%3D%2B%0A%27%22%C3%A9%E2%82%AC%FF~/.-_Z9"
    assert request._unquote(quoted) == awkward


def test_decoding_reads_percent_signs() -> None:
    """Any byte may be encoded, needed or not."""
    assert Request.decode("vm1:img=%61%2Eimg") == Request(img="a.img")


@pytest.mark.parametrize("text", ["vm2:vcpus=1", "vm", "", "VM1", "vm11", "vm1 ", "x:vcpus=1"])
def test_another_form_is_refused(text: str) -> None:
    """A newer submit host and an older node must not misread each other."""
    with pytest.raises(
        RequestError, match=r"^the job carries a VM request of unknown form '.*'; this node reads vm1: "
    ):
        Request.decode(text)


@pytest.mark.parametrize(
    ("text", "item"),
    [
        ("vm1:", ""),
        ("vm1:vcpus", "vcpus"),
        ("vm1:vcpus=1:", ""),
        ("vm1:vcpus=1:vcpus=1", "vcpus=1"),
        ("vm1:vcpus=1:VCPUS=1", "VCPUS=1"),
        ("vm1:VCPUS=1", "VCPUS=1"),
        ("vm1:vcpus= 1", "vcpus= 1"),
        ("vm1:img=a%2", "img=a%2"),
        ("vm1:img=a%2b", "img=a%2b"),
        ("vm1:img=a=b", "img=a=b"),
        ("vm1:img=a,b", "img=a,b"),
        ("vm1:img=é", "img=é"),
    ],
)
def test_damage_is_refused(text: str, item: str) -> None:
    """Cut off, repeated, half encoded: the message shows where."""
    with pytest.raises(RequestError) as caught:
        Request.decode(text)
    assert str(caught.value) == f"the job carries a damaged VM request at '{item}'"


@pytest.mark.parametrize(
    "text",
    [
        "vm1:vcpus=0",
        "vm1:img=..%2Fshadow",
        "vm1:img=%2Fa%2F..%2Fb",
        "vm1:img=a%00",
        "vm1:run_dir=/x",
        "vm1:ram=9",
        "vm1:vm_prologue=/a",
        "vm1:disk=a",
        "vm1:metadata=" + "0" * 64 + "a",
    ],
)
def test_root_trusts_nothing_the_user_wrote(text: str) -> None:
    """Keys and values are checked again by the same table."""
    with pytest.raises(RequestError, match="-vm key"):
        Request.decode(text)


@given(st.text(max_size=60) | st.text(alphabet="vm1:=%,vcpus20AimgFf ", max_size=60).map("vm1:{}".format))
def test_any_carried_text_is_a_request_or_a_request_error(text: str) -> None:
    """Nothing else comes out of hostile text."""
    try:
        request = Request.decode(text)
    except RequestError as error:
        said = str(error)
        assert said.isprintable()
    else:
        assert Request.decode(request.encode()) == request


@pytest.mark.parametrize(
    "resources",
    [
        "",
        "nodes=1:ppn=2,walltime=00:05:00",
        "other=",
        "other=license",
        "other=vm",
        "other=vmware:7",
        "other=vm1x:vcpus=1",
        "other=xvm1:vcpus=1",
        "nodes=1:other=vm1:vcpus=1",
        "brother=vm1:vcpus=1",
        "software=other=vm1",
        "OTHER=vm1",
        "other=vm1234567890:",
    ],
)
def test_jobs_without_our_request(resources: str) -> None:
    """Somebody else's ``other`` resource is not ours to judge."""
    assert find_in_resources(resources) is None


@pytest.mark.parametrize(
    ("resources", "request_"),
    [
        ("other=vm1", Request()),
        ("other=vm1:vcpus=2", Request(vcpus=2)),
        ("neednodes=1:ppn=2,other=vm1:vcpus=2,mem=100mb", Request(vcpus=2)),
        ("other=license,other=vm1:vcpus=2", Request(vcpus=2)),
    ],
)
def test_our_request_is_found_wherever_it_stands(resources: str, request_: Request) -> None:
    """TORQUE decides the order of a job's resources."""
    assert find_in_resources(resources) == request_


@pytest.mark.parametrize(
    ("resources", "message"),
    [
        ("other=vm1:vcpus=1,other=vm1:vcpus=2", "the job carries more than one VM request"),
        ("other=vm1:vcpus=1,other=vm2:x", "the job carries more than one VM request"),
        ("other=vm2:x", "the job carries a VM request of unknown form 'vm2'"),
        ("other=vm1:vcpus=1\nram=2G", "the job carries a damaged VM request at"),
        ("other=vm1:", "the job carries a damaged VM request at ''"),
        ("other=vm123456789:", "the job carries a VM request of unknown form 'vm123456789'"),
    ],
)
def test_a_request_that_cannot_be_read_is_an_error(resources: str, message: str) -> None:
    """Not None: the job was meant to run in VMs."""
    with pytest.raises(RequestError) as caught:
        find_in_resources(resources)
    assert str(caught.value).startswith(message)


@given(
    st.text(max_size=80) | st.text(alphabet="other=vm1:,vcpus2%\n '", max_size=80).map("other=vm1{}".format)
)
def test_any_resource_list_is_read_or_refused(text: str) -> None:
    """The resource list is the user's text and root reads it."""
    try:
        found = find_in_resources(text)
    except RequestError as error:
        said = str(error)
        assert said.isprintable()
    else:
        assert found is None or isinstance(found, Request)
