"""More cloud-init settings: what a file may hold, what users may add, and that ours stay."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import pwd
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from render_kit import ALICE, VOLUMES, illegal, keys_for, plan_of

from nornir_torque_vm.config.cloudinit import ROOT_KEYS, SAFE_KEYS
from nornir_torque_vm.config.settings import Settings
from nornir_torque_vm.deadline import Deadline
from nornir_torque_vm.errors import RequestError, SettingsError
from nornir_torque_vm.hooks.usermetadata import metadata_of
from nornir_torque_vm.model import FileRef, Owner, UserDir, UserFiles
from nornir_torque_vm.plan import plan_from_json, plan_to_json
from nornir_torque_vm.render.cloudinit.metadata import LISTS, check_added, merged, user_is_root, with_metadata
from nornir_torque_vm.render.cloudinit.sitefile import site_metadata
from nornir_torque_vm.render.cloudinit.userdata import user_data
from nornir_torque_vm.render.cloudinit.yamlfile import MAX_BYTES, NotCloudConfig, read_cloud_config
from nornir_torque_vm.render.domain import domain_xml
from nornir_torque_vm.request import Request

ALL = (*SAFE_KEYS, *ROOT_KEYS)
SITE = Settings(user_image_bridge="br9")
"""One that has a place for guests whose user is root."""


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", {}),
        ("#cloud-config\n# nothing\n", {}),
        ("#cloud-config\ntimezone: Europe/Berlin\nlocale: 'C.UTF-8'\n",
         {"timezone": "Europe/Berlin", "locale": "C.UTF-8"}),
        ("package_update: yes\nx: off\nmode: 0644\n", {"package_update": True, "x": False, "mode": 0o644}),
        ('{"runcmd": [["a", 1, null, 1.5]]}', {"runcmd": [["a", 1, None, 1.5]]}),
        ("\ufeffa: |\n  b\n  c\n", {"a": "b\nc\n"}),
    ],
)  # fmt: skip
def test_a_file_is_read_as_cloud_init_would(text: str, value: dict[str, Any]) -> None:
    """YAML 1.1: yes is true, and a leading zero means octal."""
    assert read_cloud_config(text.encode()) == value


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"\xff", "is not UTF-8 text"),
        (b"- a\n", "holds no keys with values"),
        (b"a\n", "holds no keys with values"),
        (b"a: [1\n", "is not YAML: line 2: expected"),
        (b"a: 1\na: 2\n", "is not YAML: line 2: found duplicate key"),
        (b"1: 2\n", "has the key 1, which is no text"),
        (b"a: {1: 2}\n", "has the key 1, which is no text"),
        (b"a: 2020-01-01\n", "has '2020-01-01', a date: put it between quotes"),
        (b"a: .nan\n", "has 'nan', a float"),
        (b"a: &x [1]\nb: *x\n", "has an anchor or alias 'x': write it out"),
        (b"a: &x [1]\n", "has an anchor or alias 'x': write it out"),
        (b"a: !!binary aGk=\n", "has a tag 'tag:yaml.org,2002:binary': leave it out"),
        (b"a: !!python/name:os.system x\n", "has a tag"),
        (b"a: !own x\n", "has a tag '!own'"),
        (b"a: 1\n---\nb: 2\n", "holds too much"),
        (b"[" * 17 + b"]" * 17, "holds too much"),
        (b"[" * 60_000, "holds too much"),
        (b"a: [" + b"1," * 10_001 + b"]", "holds too much"),
        (b"## template: jinja\na: {{ x }}\n", "is a template"),
        (b"#template: jinja\na: {{ x }}\n", "is a template"),
        (b"a: " + b"1" * 5000, "is not YAML: Exceeds the limit"),
        (b"a: \x01", "is not YAML"),
    ],
)
def test_what_is_no_plain_cloud_config_is_refused(text: bytes, why: str) -> None:
    """In the rest of one sentence; a few lines of aliases would be gigabytes."""
    with pytest.raises(NotCloudConfig) as caught:
        read_cloud_config(text)
    assert str(caught.value).startswith(why)
    assert "\n" not in str(caught.value)


@given(st.binary(max_size=200) | st.text("ab:-[]{}&*!|>'\"#%@,? \n\t0", max_size=60).map(str.encode))
def test_whatever_a_file_holds_is_values_or_a_sentence(content: bytes) -> None:
    """Never another error, and never a value that JSON has not."""
    with contextlib.suppress(NotCloudConfig):
        json.dumps(read_cloud_config(content), allow_nan=False)


@pytest.mark.parametrize(
    "added",
    [
        {"timezone": "Europe/Berlin"}, {"timezone": "America/Argentina/Ushuaia"}, {"timezone": "Etc/GMT+1"},
        {"locale": "C.UTF-8"}, {"locale": "de_DE@euro"}, {"packages": ["g++", ["hdf5", "1.10.8+r1-1"]]},
        {"runcmd": ["anything", ["at", "all"]]}, {"bootcmd": ["x"]}, {"write_files": [{"path": "/x"}]}, {},
    ],
)  # fmt: skip
def test_what_users_may_add(added: dict[str, Any]) -> None:
    """If the site has it in its list."""
    check_added(added, ALL)
    for key in added:
        with pytest.raises(RequestError, match=f"has the key '{key}', which users may not set here"):
            check_added(added, [one for one in ALL if one != key])


@pytest.mark.parametrize(
    ("added", "about"),
    [
        ({"timezone": "../../etc/shadow"}, "timezone"), ({"timezone": "/etc/shadow"}, "timezone"),
        ({"timezone": 1}, "timezone"), ({"timezone": "a\nb"}, "timezone"), ({"locale": "C; id"}, "locale"),
        ({"locale": False}, "locale"), ({"packages": "g++"}, "packages"), ({"packages": []}, "packages"),
        ({"packages": ["/home/alice/x.deb"]}, "packages"), ({"packages": ["./x.deb"]}, "packages"),
        ({"packages": ["x.deb"]}, "packages"), ({"packages": ["x.rpm"]}, "packages"),
        ({"packages": ["sudo-"]}, "packages"), ({"packages": ["-o=x"]}, "packages"),
        ({"packages": ["https://a/b"]}, "packages"), ({"packages": [["a", "b", "c"]]}, "packages"),
        ({"packages": [["a", "/b"]]}, "packages"), ({"packages": [["a"]]}, "packages"),
        ({"packages": ["a"] * 65}, "packages"), ({"packages": [{"snap": ["x"]}]}, "packages"),
        ({"runcmd": "x"}, "runcmd"), ({"write_files": {}}, "write_files"), ({"bootcmd": []}, "bootcmd"),
    ],
)  # fmt: skip
def test_values_that_are_not_let_through(added: dict[str, Any], about: str) -> None:
    """A file in place of a package would make its owner root; the key is named."""
    with pytest.raises(RequestError) as caught:
        check_added(added, ALL)
    assert about in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "key", ["users", "ssh_keys", "mounts", "ntp", "chpasswd", "disk_setup", "hostname", "Runcmd"]
)
def test_no_list_of_the_sites_can_name_other_keys(key: str) -> None:
    """What a key can do has to be known before users may set it."""
    with pytest.raises(RequestError, match=r"users may not set here.*allowed are locale, timezone"):
        check_added({key: 1}, Settings().metadata_keys)
    assert key not in ALL


OWN = {"hostname": "j1-r0", "users": [], "bootcmd": [["ours"]], "packages": ["a"]}


def test_lists_are_joined_and_nothing_of_ours_is_replaced() -> None:
    """Ours first, then the site's, then the user's; the user's timezone counts before the site's."""
    site = {"timezone": "UTC", "bootcmd": [["site"]], "packages": ["a", "b"], "chrony": {"x": 1}}
    user = {"timezone": "Asia/Tokyo", "packages": ["b", "c"], "runcmd": ["x"]}
    assert merged(OWN, site, user) == {
        "hostname": "j1-r0", "users": [], "bootcmd": [["ours"], ["site"]], "packages": ["a", "b", "c"],
        "timezone": "Asia/Tokyo", "chrony": {"x": 1}, "runcmd": ["x"],
    }  # fmt: skip
    assert merged(OWN, {}, {}) == OWN


@pytest.mark.parametrize("key", ["hostname", "users"])
def test_a_key_of_ours_in_the_sites_file_is_refused(key: str) -> None:
    """It would have no effect, or take a guest away from its owner."""
    with pytest.raises(SettingsError, match=f"metadata_file sets '{key}', which is set here already"):
        merged(OWN, {key: []}, {})


def test_every_key_that_is_ours_is_protected_or_a_list() -> None:
    """Users can name none of the others."""
    own = json.loads(user_data(plan_of(), plan_of().guests[0], keys_for(), "10.0.0.1", Settings())[14:])
    assert not set(own) & set(ALL) - set(LISTS)


def test_what_the_owner_adds_travels_in_the_plan_to_every_guest() -> None:
    """And is there after the plan was written and read."""
    plan = with_metadata(plan_of(), {"timezone": "Asia/Tokyo", "packages": ["ünicode"]}, SITE)
    again = plan_from_json(plan_to_json(plan))
    assert again == plan
    for guest in again.guests:
        found = json.loads(user_data(again, guest, keys_for(), "", Settings(), {"locale": "C"})[14:])
        assert (found["timezone"], found["packages"], found["locale"]) == ("Asia/Tokyo", ["ünicode"], "C")
    assert with_metadata(plan_of(), {}, SITE) == plan_of()


@pytest.mark.parametrize("key", ROOT_KEYS)
def test_who_is_root_in_a_guest_gets_no_files_that_root_could_misuse(key: str) -> None:
    """The trust table, with a site's image: its root is the user then."""
    for kind in (UserFiles.NFS, UserFiles.VIRTIOFS):
        plan = dataclasses.replace(plan_of(), user_files=kind, user_dirs=(UserDir("/home/alice", "x"),))
        with pytest.raises(
            RequestError, match=f"has {key}: guests in which you are root get no files by {kind}"
        ):
            with_metadata(plan, {key: ["x"]}, SITE)
        assert with_metadata(plan, {"timezone": "UTC"}, Settings()).added
    for kind in (UserFiles.NONE, UserFiles.NINE_P):
        assert with_metadata(dataclasses.replace(plan_of(), user_files=kind), {key: ["x"]}, SITE).added


@pytest.mark.parametrize("key", [*ROOT_KEYS, *SAFE_KEYS])
def test_guests_whose_user_is_root_are_where_the_site_has_said(key: str) -> None:
    """Root in a guest can pretend to be any machine of its network."""
    rootly = key in ROOT_KEYS
    plan = with_metadata(plan_of(), {key: ["x"]}, SITE)
    assert user_is_root(plan) == rootly
    text = domain_xml(plan, plan.guests[0], VOLUMES, SITE)
    assert ('<source bridge="br9"/>' in text, '<source bridge="br0"/>' in text) == (rootly, not rootly)
    if rootly:
        with pytest.raises(SettingsError, match="no bridge is named for these; set user_image_bridge"):
            with_metadata(plan_of(), {key: ["x"]}, Settings())


@given(illegal)
def test_what_cannot_be_written_down_is_refused_before_guests_are_made(char: str) -> None:
    """In one line."""
    with pytest.raises(RequestError) as caught:
        with_metadata(plan_of(), {"runcmd": [f"a{char}"]}, SITE)
    assert "\n" not in str(caught.value)


@pytest.fixture
def me() -> Owner:
    account = pwd.getpwuid(os.geteuid())
    return dataclasses.replace(ALICE, name=account.pw_name, uid=account.pw_uid, gid=account.pw_gid, groups=())


def asking(path: Path) -> Request:
    return dataclasses.replace(
        Request(), metadata=FileRef(str(path), hashlib.sha256(path.read_bytes()).hexdigest())
    )


@pytest.mark.proves("metadata", "metadata_keys")
def test_the_owners_file_is_read_and_judged(tmp_path: Path, me: Owner) -> None:
    """With the owner's rights; what it may hold is the site's word."""
    path = tmp_path / "meta.yaml"
    path.write_text("#cloud-config\ntimezone: Asia/Tokyo\n")
    deadline = Deadline.after(60)
    assert metadata_of(asking(path), Settings(), me, deadline) == {"timezone": "Asia/Tokyo"}
    assert metadata_of(Request(), Settings(), me, deadline) == {}
    with pytest.raises(RequestError, match="has the key 'timezone'"):
        metadata_of(asking(path), Settings(metadata_keys=()), me, deadline)
    path.write_text("a: *x\n")
    with pytest.raises(RequestError, match=r"^the metadata file has an anchor or alias 'x'"):
        metadata_of(asking(path), Settings(), me, deadline)
    path.write_bytes(b"#" * (MAX_BYTES + 1))
    with pytest.raises(RequestError, match=f"more than {MAX_BYTES} bytes"):
        metadata_of(asking(path), Settings(), me, deadline)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    site_metadata.cache_clear()
    return tmp_path / "site.yaml"


def test_the_sites_file_may_set_what_is_not_ours(place: Path) -> None:
    """It is root's, as the settings are."""
    place.write_text("#cloud-config\nchpasswd: {expire: false}\n")
    place.chmod(0o600)
    assert site_metadata(str(place)) == {"chpasswd": {"expire": False}}
    assert site_metadata("") == {}


@pytest.mark.parametrize(
    ("text", "mode", "why"),
    [
        ("a: 1", 0o666, "who could be root in every guest"),
        ("- a", 0o644, "site.yaml holds no keys with values"),
        ("#" * (MAX_BYTES + 1), 0o644, "more than"),
        (None, 0, "No such file"),
    ],
)
def test_a_file_of_the_sites_that_cannot_be_used_says_why(
    place: Path, text: str | None, mode: int, why: str
) -> None:
    """Others could have written it; or it is wrong."""
    if text is not None:
        place.write_text(text)
        place.chmod(mode)
    with pytest.raises(SettingsError) as caught:
        site_metadata(str(place))
    assert str(caught.value).startswith("metadata_file: ")
    assert why in str(caught.value)
