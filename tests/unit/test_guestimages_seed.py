"""The micro guest's reader of seeds: any JSON comes out as the same values, and never as shell text."""

from __future__ import annotations

import base64
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from guest_shell import MICRO, Root, needs_busybox, run
from hypothesis import given, settings
from hypothesis import strategies as st

from nornir_torque_vm.config.settings import Settings
from nornir_torque_vm.model import Guest, Image, Job, Node, Owner, Plan, Shape
from nornir_torque_vm.render.cloudinit.seed import seed_files
from nornir_torque_vm.sshkeys import make_job_keys

pytestmark = needs_busybox

READER = MICRO / "usr/lib/micro/seed.awk"
# Each call of the script becomes one line: its words, base64, with blanks between.
RECORD = """
say() { for word; do printf '%s ' "$(printf %s "$word" | base64 | tr -d '\\n')"; done; echo; }
for name in fail note host_name network instance host_key write_file network_wait run_command user; do
    eval "$name() { say $name \\"\\$@\\"; }"
done
"""
META = {"instance-id": "i-1", "local-hostname": "from-meta"}
# What JSON may hold and a shell variable can: everything but NUL and lone surrogates.
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))


def calls(directory: Path, user: str, network: str = "", meta: str = json.dumps(META)) -> list[list[str]]:
    """The functions a seed makes the guest call, with their arguments."""
    (directory / "meta-data").write_text(meta, "utf-8")
    (directory / "user-data").write_text(user, "utf-8")
    if network:
        (directory / "network-config").write_text(network, "utf-8")
    script = run("awk", "-f", READER, directory)
    assert (script.returncode, script.stderr) == (0, "")
    said = run("sh", stdin=RECORD + script.stdout)
    assert said.stderr == ""
    return [
        [base64.b64decode(word).decode(errors="replace") for word in line.split(" ")[:-1]]
        for line in said.stdout.split("\n")[:-1]
    ]


def config(value: dict[str, Any], **options: Any) -> str:
    """User-data as our renderer writes it."""
    return "#cloud-config\n" + json.dumps(value, **options) + "\n"


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One for all examples: hypothesis runs many in one test."""
    return tmp_path_factory.mktemp("seed")


@settings(max_examples=40)
@given(st.lists(TEXT, min_size=1, max_size=4), st.booleans(), st.sampled_from([None, 1]))
def test_every_text_arrives_as_it_was(
    directory: Path, words: list[str], ascii_only: bool, indent: int | None
) -> None:
    """Quotes, dollars, line ends, emoji, escaped or not: the command has the words of the seed."""
    user = config({"bootcmd": [words]}, ensure_ascii=ascii_only, indent=indent)
    (found,) = [call[1:] for call in calls(directory, user) if call[0] == "run_command"]
    assert found == words


@settings(max_examples=40)
@given(st.text(max_size=40))
def test_what_is_not_json_is_an_error_of_the_seed(directory: Path, text: str) -> None:
    """And nothing of it is done: half a seed is worse than none."""
    try:
        valid = isinstance(json.loads(text), dict)
    except ValueError:
        valid = False
    if not valid:
        found = calls(directory, "#cloud-config\n" + text)
        assert ["fail", "the seed has no usable user-data"] in found or found[0][0] == "fail"
        assert not [call for call in found if call[0] in {"run_command", "user", "write_file"}]


@pytest.mark.parametrize(
    "text",
    ['{"a": "\\u00"}', '{"a": "\\x"}', '{"a": 1,}', '{"a" 1}', '{"a": [1 2]}', '{"a": "x}', "{", '{"a": 1} 2',
     '{"a": "\\u0000"}', "[1]", ""],
)  # fmt: skip
def test_a_broken_document_is_named(directory: Path, text: str) -> None:
    """Each way to be broken is an error of its own that says which document it was."""
    found = calls(directory, "#cloud-config\n" + text)
    assert any(call[0] == "fail" and call[1].startswith("user data cannot be read: ") for call in found)


def test_user_data_without_its_first_line_is_refused(directory: Path) -> None:
    """cloud-init would not take it for a configuration either."""
    assert ["fail", "user data cannot be read: does not begin with #cloud-config"] in calls(directory, "{}")


def test_the_order_is_cloud_inits(directory: Path) -> None:
    """Files before groups before accounts before deferred files before commands."""
    user = config({
        "runcmd": [["last"]], "users": [{"name": "alice"}], "bootcmd": [["first"]],
        "write_files": [{"path": "/late", "defer": True}, {"path": "/early"}],
    })  # fmt: skip
    wanted = {"write_file", "run_command", "user", "network_wait"}
    assert [call[:2] for call in calls(directory, user) if call[0] in wanted] == [
        ["write_file", "/early"], ["network_wait"], ["run_command", "first"], ["user", "alice"],
        ["write_file", "/late"], ["run_command", "last"],
    ]  # fmt: skip


def test_an_unknown_key_is_noted_and_harmless(directory: Path) -> None:
    """cloud-init has many more keys; here they must not stop a boot, nor vanish without a word."""
    assert ["note", "user-data key packages has no meaning in this guest"] in calls(
        directory, config({"packages": ["x"]})
    )


def test_a_static_network_reaches_the_guest(directory: Path) -> None:
    """Addresses, the default route in either form, name servers; the card by its address, any case."""
    card = {
        "match": {"macaddress": "52:54:00:AA:00:01"}, "set-name": "eth0", "dhcp4": False,
        "addresses": ["10.0.0.5/24", "10.0.1.5/24"], "routes": [{"to": "default", "via": "10.0.0.1"}],
        "nameservers": {"addresses": ["10.0.0.2"], "search": ["site"]},
    }  # fmt: skip
    for document in ({"version": 2, "ethernets": {"n": card}}, {"network": {"ethernets": {"n": card}}}):
        (found,) = [c for c in calls(directory, config({}), json.dumps(document)) if c[0] == "network"]
        assert found[1:] == [
            "n", "52:54:00:aa:00:01", "false", "10.0.0.5/24 10.0.1.5/24", "10.0.0.1", "10.0.0.2", "site",
            "eth0",
        ]  # fmt: skip


def test_without_network_config_the_first_card_asks_dhcp(tmp_path: Path) -> None:
    """As cloud-init's fallback does."""
    assert ["network", "eth0", "", "true", "", "", "", "", ""] in calls(tmp_path, config({}))


def test_the_seed_our_renderer_writes_is_understood_whole(tmp_path: Path) -> None:
    """Whatever key the renderer comes to use has to have a meaning here, or this test says so."""
    shape = Shape(vcpus=1, ram=1 << 28)
    guest = Guest("j1-r0", 0, "node1", 0, "02:00:00:00:00:01", "u", "tvm-1", shape)
    owner = Owner("alice", 2001, 2001, "people", "/home/alice", groups=(("people", 2001), ("proj", 3001)))
    plan = Plan(Job("1.head", "head", owner), (Node("node1"),), (guest,), Image("micro", "/i"))
    keys = make_job_keys(["j1-r0"])
    files = seed_files(plan, guest, keys, "10.89.0.11", Settings(search_domain="site.example"))
    found = calls(tmp_path, files["user-data"], files["network-config"], files["meta-data"])
    assert not [call for call in found if call[0] in {"fail", "note"}]
    table = {call[0]: call[1:] for call in found}
    assert table["host_name"] == ["j1-r0", "j1-r0.site.example"]
    assert table["host_key"] == [keys.hosts["j1-r0"].private, keys.hosts["j1-r0"].public]
    assert table["network"][1:3] == [guest.mac, "true"]
    users = [call[1:] for call in found if call[0] == "user"]
    assert users[0][::6] == ["root", keys.admin.public]
    assert users[1] == ["alice", "2001", "people", "/bin/bash", "", "", keys.user.public]
    first = next(call for call in found if call[0] == "run_command")
    assert first[-8:] == ["alice", "2001", "people", "2001", "/home/alice", "/bin/bash", "proj", "3001"]


@pytest.fixture
def root(tmp_path: Path) -> Root:
    """A guest's root with the functions a seed calls."""
    return Root(tmp_path / "root")


def do(root: Root, script: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Run functions of the guest, and print the errors they collected."""
    functions = root.moved((MICRO / "usr/lib/micro/functions.sh").read_text())
    return root.run(f'{functions}\nerrors=\n{script}\nprintf %s "$errors"', *words)


@pytest.mark.parametrize(("encoding", "content"), [("", "it's $HOME\n"), ("b64", "aXQncyAkSE9NRQo=")])
def test_a_file_is_written_with_its_mode(root: Root, encoding: str, content: str) -> None:
    """Directories it needs are made; the content is not touched."""
    said = do(root, 'write_file "$@"', f"{root.directory}/a/b/c", "0640", "root:root", encoding, content)
    assert (said.stdout, said.stderr) == ("", "")
    assert root.read("a/b/c") == "it's $HOME\n"
    assert (root.directory / "a/b/c").stat().st_mode & 0o7777 == 0o640


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["relative", "", "", "", ""], '"write_files: path relative is not absolute"'),
        (["{root}/x", "", "", "gz", "x"], '"write_files: encoding gz of {root}/x is not known"'),
        (["{root}/x", "rwx", "", "", "x"], '"write_files: mode rwx of {root}/x was refused"'),
        (
            ["{root}/x", "", "nobody-here", "", "x"],
            '"write_files: owner nobody-here of {root}/x is not known"',
        ),
    ],
)
def test_a_file_that_cannot_be_written_as_asked_is_an_error(root: Root, words: list[str], error: str) -> None:
    """In result.json, where the health check reads it; the boot goes on."""
    place = str(root.directory)
    said = do(root, 'write_file "$@"', *(word.replace("{root}", place) for word in words))
    assert said.stdout == error.replace("{root}", place)


def test_errors_stay_json_whatever_they_quote(root: Root) -> None:
    """result.json is read by a JSON parser; quotes and control characters are made harmless."""
    said = do(root, 'fail "$1"; run_command false', 'say "no"\\\n\t\x01')
    assert json.loads(f"[{said.stdout}]") == ["say 'no'/   ", "command ended with code 1: false"]
