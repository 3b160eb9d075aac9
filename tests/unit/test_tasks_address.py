"""Finding a guest's address: whom to ask, whom to believe, when to give up."""

from __future__ import annotations

import dataclasses
import pathlib
import socket
import subprocess
import time
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from task_kit import (
    FakeDomain,
    FakeLibvirt,
    Plugged,
    World,
    first_error,
    in_turn,
    libvirt_error,
    make_plan,
    result_of,
)

from nornir_torque_vm import neighbours
from nornir_torque_vm.addresses.model import AddressSource, StaticAddress
from nornir_torque_vm.connections.command import CommandResult
from nornir_torque_vm.errors import DeadlineExceeded, GuestDied, HypervisorError, NoAddress
from nornir_torque_vm.storage.local import LocalStorage
from nornir_torque_vm.tasks import discover_address, sources
from nornir_torque_vm.tasks.sources import ipv4_of, read_there

LEASE, AGENT, ARP = 0, 1, 2
NOT_CONNECTED = libvirt_error(86, "QEMU guest agent is not connected")
NO_CHANNEL = libvirt_error(74, "QEMU guest agent is not configured")
BROKEN_ARP = libvirt_error(1, "internal error: wrong nlmsg len")
GONE = libvirt_error(42, "Domain not found")


@pytest.fixture
def world(tmp_path: pathlib.Path) -> World:
    return World(tmp_path, make_plan(1, 1))


def script(world: World, domain: FakeDomain | Exception, **data: Any) -> str:
    """Give the only guest a scripted domain; return its MAC."""
    host = world.inventory.hosts["j17-r0"]
    host.connections["libvirt"] = Plugged(FakeLibvirt(domain))
    host.data.update(data)
    return str(host["mac"])


def told(mac: str, address: str = "10.89.0.9") -> dict[str, Any]:
    """What libvirt's ``interfaceAddresses`` returns for one card."""
    return {"eth0": {"hwaddr": mac.upper(), "addrs": [{"type": 0, "addr": address, "prefix": 24}]}}


def table(monkeypatch: pytest.MonkeyPatch, **entries: str) -> None:
    """Let this machine's neighbour table say that, MAC → address."""
    monkeypatch.setattr(sources, "read_here", lambda: entries)


def ask(world: World, *names: str, seconds: float = 5.0) -> Any:
    return world.run(discover_address, "guest", seconds, sources=names)


def test_the_first_source_that_knows_wins_and_is_named(world: World) -> None:
    """Later sources are not even asked, and the host can be reached from then on."""
    domain = FakeDomain()
    mac = script(world, domain)
    domain.answers = {AGENT: told(mac), LEASE: told(mac, "10.89.0.10")}
    found = result_of(ask(world, "agent", "lease"), "j17-r0")
    assert (found.address, found.source) == ("10.89.0.9", AddressSource.AGENT)
    assert 0.0 <= found.seconds < 2.0
    assert domain.asked == [AGENT]
    assert world.inventory.hosts["j17-r0"].hostname == "10.89.0.9"


@pytest.mark.proves("address_sources")
def test_the_settings_say_whom_to_ask_in_which_order(tmp_path: pathlib.Path) -> None:
    """``address_sources`` is the default."""
    world = World(tmp_path, make_plan(1, 1), address_sources=(AddressSource.LEASE, AddressSource.AGENT))
    domain = FakeDomain()
    mac = script(world, domain)
    domain.answers = {AGENT: told(mac)}
    found = result_of(world.run(discover_address, "guest"), "j17-r0")
    assert (found.source, domain.asked) == (AddressSource.AGENT, [LEASE, AGENT])


def test_it_waits_for_a_guest_that_is_still_booting(world: World) -> None:
    """An agent that is not connected yet is asked again; the pauses are short at first."""
    domain, asked = FakeDomain(), []
    mac = script(world, domain)

    def third_time() -> Any:
        asked.append(time.monotonic())
        if len(asked) < 3:
            raise NOT_CONNECTED
        return told(mac)

    domain.answers = {AGENT: third_time}
    assert result_of(ask(world, "agent"), "j17-r0").address == "10.89.0.9"
    assert asked[-1] - asked[0] < 0.6


@pytest.mark.parametrize(
    ("source", "number", "refusal", "other", "other_number"),
    [
        ("agent", AGENT, NO_CHANNEL, "lease", LEASE),
        ("arp", ARP, BROKEN_ARP, "lease", LEASE),
        ("lease", LEASE, BROKEN_ARP, "agent", AGENT),
    ],
)
def test_a_source_that_can_never_know_is_asked_once_and_named(
    world: World, source: str, number: int, refusal: Exception, other: str, other_number: int
) -> None:
    """Without an agent channel, or where libvirt's own ARP reader is broken."""
    domain = FakeDomain({number: refusal})
    mac = script(world, domain)
    domain.answers[other_number] = in_turn({}, {}, told(mac))
    found = result_of(ask(world, source, other), "j17-r0")
    assert domain.asked.count(number) == 1
    assert "not asked again" in found.dropped[source]
    assert list(found.dropped) == [source]


def test_an_agent_that_stumbles_is_asked_again(world: World) -> None:
    """Libvirt reports what fails inside the agent as an internal error; a booting one may recover."""
    domain = FakeDomain()
    mac = script(world, domain)
    domain.answers = {AGENT: in_turn(BROKEN_ARP, told(mac))}
    assert result_of(ask(world, "agent"), "j17-r0").dropped == {}


def test_when_nobody_is_left_to_ask_it_fails_at_once(world: World) -> None:
    """There is nothing to wait for."""
    script(world, FakeDomain({AGENT: NO_CHANNEL, ARP: BROKEN_ARP}))
    began = time.monotonic()
    error = first_error(ask(world, "agent", "arp"), "j17-r0")
    assert isinstance(error, NoAddress)
    assert time.monotonic() - began < 2.0
    assert "agent: QEMU guest agent is not configured" in str(error)
    assert "wrong nlmsg len" in str(error)


def test_a_late_answer_is_late_and_says_what_each_source_said(world: World) -> None:
    """Late, so that the node is not blamed for an error; with more to say than the runner has."""
    script(world, FakeDomain({AGENT: NOT_CONNECTED, ARP: BROKEN_ARP}))
    began = time.monotonic()
    error = first_error(ask(world, "agent", "lease", "arp", seconds=0.6), "j17-r0")
    assert isinstance(error, DeadlineExceeded)
    assert time.monotonic() - began < 0.7
    for words in ("agent: QEMU guest agent is not connected", "lease: no address yet", "arp: internal error"):
        assert words in str(error)


def test_the_nodes_own_table_is_asked_by_mac(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where DHCP runs elsewhere this is the only source."""
    mac = script(world, FakeDomain(), local=True)
    table(monkeypatch, **{"02:00:00:00:00:99": "10.89.0.99", mac: "10.89.0.9"})
    found = result_of(ask(world, "neighbour"), "j17-r0")
    assert (found.address, found.source) == ("10.89.0.9", AddressSource.NEIGHBOUR)


def test_another_nodes_table_is_read_over_its_shell(world: World) -> None:
    """One command, in whatever form the node's programs can print it."""
    mac = script(world, FakeDomain(), local=False)
    world.inventory.hosts["j17-r0"].connections["node_shell"] = Plugged(
        Shell(CommandResult(0, f"? (10.89.0.9) at {mac} [ether] on br0\n"))
    )
    assert result_of(ask(world, "neighbour"), "j17-r0").address == "10.89.0.9"


def test_a_node_that_refuses_the_shell_does_not_end_the_search(world: World) -> None:
    """Other sources may still answer; the reason is kept for the day they do not."""
    script(world, FakeDomain(), local=False)
    world.inventory.hosts["j17-r0"].connections["node_shell"] = Plugged(
        Shell(CommandResult(127, "", "arp: not found"))
    )
    error = first_error(ask(world, "neighbour", "lease", seconds=0.6), "j17-r0")
    assert isinstance(error, DeadlineExceeded)
    assert "neighbour: cannot read the neighbour table: exit status 127: arp: not found" in str(error)


@pytest.mark.parametrize("state", [(6, 1), (5, 1), (3, 5), GONE])
def test_a_dead_guest_is_not_waited_for(world: World, state: object) -> None:
    """Crashed, shut off, paused by an I/O error, gone: at once, with the end of its console."""
    script(world, FakeDomain({AGENT: NOT_CONNECTED}, states=[(1, 1), state]))
    console(world, b"booting\r\n" * 5000 + b"\x1b[31mone\x1b[0m\r\n\r\ntwo\r\n")
    began = time.monotonic()
    error = first_error(ask(world, "agent"), "j17-r0")
    assert isinstance(error, GuestDied)
    assert time.monotonic() - began < 2.0
    assert str(error).startswith("node node1, guest j17-r0: it ")
    assert str(error).endswith("its console says: booting | one | two")


def test_a_panic_is_quoted_rather_than_what_follows_it(world: World) -> None:
    """Registers and a stack trace fill the end of the console."""
    script(world, FakeDomain({AGENT: NOT_CONNECTED}, states=[GONE]))
    panic = b"[7.3] Kernel panic - not syncing: sysrq triggered crash"
    console(world, b"booting\n" + panic + b"\n" + b"R10: 0000000000000000\n" * 50)
    error = first_error(ask(world, "agent"), "j17-r0")
    assert str(error).endswith(f"its console says: {panic.decode()}")


def test_a_panic_that_libvirt_knows_nothing_of_is_heard(world: World) -> None:
    """Before it has a driver for the panic device a kernel can only print: the guest is called running."""
    script(world, FakeDomain({AGENT: NOT_CONNECTED}))
    console(world, b"\x1b[2Jbooting\nKernel panic - not syncing: VFS: Unable to mount root fs\nCPU: 0\n")
    began = time.monotonic()
    error = first_error(ask(world, "agent"), "j17-r0")
    assert isinstance(error, GuestDied)
    assert time.monotonic() - began < 2.5
    assert str(error) == (
        "node node1, guest j17-r0: it panicked; its console says: Kernel panic - not syncing: VFS: Unable to"
        " mount root fs"
    )


def test_a_console_is_not_read_all_the_time(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every two seconds do; a hundred guests ask the same libvirtd."""
    script(world, FakeDomain({AGENT: NOT_CONNECTED}))
    console(world, b"booting\n")
    read: list[float] = []
    real = LocalStorage.read

    def reading(*words: Any) -> bytes:
        read.append(time.monotonic())
        return real(*words)

    monkeypatch.setattr(LocalStorage, "read", reading)
    ask(world, "agent", seconds=3.0)
    assert len(read) == 2
    assert read[1] - read[0] >= 2.0


def test_a_late_guest_says_where_to_look(world: World) -> None:
    """The bridge, the server behind it, and what the guest itself said as far as anybody heard."""
    script(world, FakeDomain({AGENT: NOT_CONNECTED}))
    error = first_error(ask(world, "agent", seconds=0.6), "j17-r0")
    looking = f"; look at the bridge {world.settings.bridge} and at the DHCP server behind it; "
    assert str(error).endswith(f"{looking}nothing is on its console yet")
    console(world, b"udhcpc: broadcasting discover\n")
    error = first_error(ask(world, "agent", seconds=0.6), "j17-r0")
    assert isinstance(error, DeadlineExceeded)
    assert str(error).endswith(f"{looking}its console says: udhcpc: broadcasting discover")


def test_a_late_guest_of_a_libvirt_network_says_that(world: World) -> None:
    """The bridge of the settings is not where it is."""
    world.inventory.defaults.data["settings"] = dataclasses.replace(world.settings, network="cluster")
    script(world, FakeDomain({AGENT: NOT_CONNECTED}))
    error = first_error(ask(world, "agent", seconds=0.6), "j17-r0")
    assert "; look at the network cluster and at the DHCP server behind it; " in str(error)


def test_a_line_is_quoted_in_part_when_it_is_long(world: World) -> None:
    """The guest decides what it prints; the report stays readable."""
    script(world, FakeDomain({AGENT: NOT_CONNECTED}, states=[GONE]))
    console(world, b"x" * 5000)
    assert len(str(first_error(ask(world, "agent"), "j17-r0"))) < 500


def console(world: World, text: bytes) -> None:
    """Let the only guest's console have printed that."""
    domain = world.plan.guests[0].domain
    folder = pathlib.Path(world.settings.volume_dir, "node1", domain)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{domain}-console.log").write_bytes(text)


def test_a_guest_that_never_was_is_not_waited_for(world: World) -> None:
    """Its domain does not exist."""
    script(world, GONE)
    error = first_error(ask(world, "agent"), "j17-r0")
    assert isinstance(error, GuestDied)
    assert "its console is empty" in str(error)


def test_an_unreachable_libvirtd_says_nothing_about_its_guests(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Guests outlive their libvirtd; the node's table may still know them."""
    lost = libvirt_error(39, "client socket is closed", domain=7)
    mac = script(world, FakeDomain({AGENT: lost}, states=[lost]), local=True)
    monkeypatch.setattr(sources, "read_here", in_turn({}, {mac: "10.89.0.9"}))
    assert result_of(ask(world, "agent", "neighbour"), "j17-r0").source is AddressSource.NEIGHBOUR


def test_a_libvirt_that_refuses_to_tell_the_state_is_an_error(world: World) -> None:
    """Neither dead nor unreachable: the task must not spin until its deadline."""
    script(world, FakeDomain({AGENT: NOT_CONNECTED}, states=[libvirt_error(88, "access denied")]))
    error = first_error(ask(world, "agent"), "j17-r0")
    assert isinstance(error, HypervisorError)
    assert "access denied" in str(error)


class TestHearsay:
    """After a requeue a new guest has the MAC of the old one, whose address the tables still have."""

    def test_an_address_where_nothing_answers_is_not_believed(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The table's old entry is passed over until the new one stands there."""
        mac = script(world, FakeDomain(), local=True, started=True)
        old, new = {mac: "10.89.0.5"}, {mac: "10.89.0.9"}
        monkeypatch.setattr(sources, "read_here", in_turn(old, old, new))
        monkeypatch.setattr(sources, "answers", lambda address: address == "10.89.0.9")
        assert result_of(ask(world, "neighbour"), "j17-r0").address == "10.89.0.9"

    def test_it_is_named_when_nothing_else_comes(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        """The administrator sees which address was known and silent."""
        mac = script(world, FakeDomain(), local=True, started=True)
        table(monkeypatch, **{mac: "10.89.0.5"})
        monkeypatch.setattr(sources, "answers", lambda _: False)
        assert "neighbour: 10.89.0.5, where nothing answers" in str(
            first_error(ask(world, "neighbour", seconds=0.6), "j17-r0")
        )

    def test_the_agents_word_is_taken(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        """It speaks from inside the guest, so it cannot be of another life."""
        domain = FakeDomain()
        mac = script(world, domain, started=True)
        domain.answers = {AGENT: told(mac)}
        monkeypatch.setattr(sources, "answers", lambda _: False)
        assert result_of(ask(world, "agent"), "j17-r0").address == "10.89.0.9"

    def test_a_guest_that_was_running_already_has_no_earlier_life(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """And need not be reachable from where an administrator asks for its address."""
        mac = script(world, FakeDomain(), local=True)
        table(monkeypatch, **{mac: "10.89.0.5"})
        monkeypatch.setattr(sources, "answers", lambda _: False)
        assert result_of(ask(world, "neighbour"), "j17-r0").address == "10.89.0.5"


class Shell:
    """A ``node_shell`` connection that prints one thing, after some seconds."""

    def __init__(self, result: CommandResult, seconds: float = 0.0) -> None:
        self.result, self.seconds = result, seconds
        self.commands: list[tuple[str, ...]] = []

    def run(self, command: Sequence[str], timeout: float) -> CommandResult:
        """Print it."""
        assert timeout > self.seconds
        self.commands.append(tuple(command))
        time.sleep(self.seconds)
        return self.result


def test_another_node_waits_for_its_guests_alone(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For those whose address is not known yet; the others would end its waiting at once."""
    world = World(tmp_path, make_plan(2, 2))
    first, second, *others = (world.inventory.hosts[f"j17-r{rank}"] for rank in range(4))
    shell = Shell(CommandResult(0, f"10.89.0.9 dev br0 lladdr {first['mac']} REACHABLE\n"))
    for host in (first, second, *others):
        host.connections["libvirt"] = Plugged(FakeLibvirt(FakeDomain()))
        host.connections["node_shell"] = Plugged(shell)
    monkeypatch.setattr(sources, "answers", lambda _: True)
    assert first["node"] == second["node"] != others[0]["node"]
    others[1].hostname = "10.89.0.7"
    result = ask(world, "neighbour", seconds=1.5)
    assert result_of(result, "j17-r0").address == "10.89.0.9"
    macs = {frozenset(command[len(neighbours.COMMAND) :]) for command in shell.commands}
    assert macs == {
        frozenset({first["mac"], second["mac"]}), frozenset({second["mac"]}), frozenset({others[0]["mac"]}),
    }  # fmt: skip


def test_a_node_that_waits_keeps_no_other_source_waiting(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An agent that answers meanwhile is heard, and so is the end of the guest."""
    domain = FakeDomain()
    mac = script(world, domain)
    shell = Shell(CommandResult(0, "[]"), seconds=3.0)
    world.inventory.hosts["j17-r0"].connections["node_shell"] = Plugged(shell)
    monkeypatch.setattr(sources, "answers", lambda _: True)
    domain.answers = {AGENT: in_turn({}, {}, told(mac))}
    found = result_of(ask(world, "neighbour", "agent"), "j17-r0")
    assert (found.source, len(shell.commands)) == (AddressSource.AGENT, 1)
    assert found.seconds < 2.0


@pytest.mark.parametrize(
    "text",
    [
        '[{"dst":"10.89.0.9","dev":"br0","lladdr":"02:00:00:00:00:01","state":["REACHABLE"]}]',
        "10.89.0.9 dev br0 lladdr 02:00:00:00:00:01 STALE\n",
        "? (10.89.0.9) at 02:00:00:00:00:01 [ether] on br0\n",
    ],
)
def test_every_form_of_a_nodes_table_is_read(text: str) -> None:
    """New iproute2, old iproute2, net-tools."""
    assert read_there(Shell(CommandResult(0, text))) == {"02:00:00:00:00:01": "10.89.0.9"}


def test_the_command_for_another_node_works_on_this_one() -> None:
    """It prints a table that can be read, whichever of the programs this machine has."""
    done = subprocess.run(neighbours.COMMAND, capture_output=True, text=True, check=False)
    if done.returncode == 127:
        pytest.skip("this machine has neither ip nor arp")
    assert isinstance(neighbours.parse_any(done.stdout), tuple)


def test_this_machines_table_can_be_read() -> None:
    """The file has the form that proc(5) says."""
    if not sources.PROC_NET_ARP.exists():
        pytest.skip("this machine has no /proc/net/arp")
    assert all(address.count(".") == 3 for address in sources.read_here().values())


def test_somebody_who_refuses_is_somebody(monkeypatch: pytest.MonkeyPatch) -> None:
    """A booting guest refuses ssh before it accepts it; an address nobody has stays silent."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setattr(sources, "KNOCK_PORT", server.getsockname()[1])
        assert sources.answers("127.0.0.1")
    assert sources.answers("127.0.0.1")  # closed now: refused
    assert not sources.answers("not an address")


@given(st.text(max_size=20) | st.ip_addresses().map(str))
def test_a_guests_own_word_is_checked(address: str) -> None:
    """The agent runs inside the guest: what it says must at least be an address others can use."""
    mac = "02:00:00:00:00:01"
    found = ipv4_of(told(mac, address), mac)
    if found is not None:
        assert found == address
        assert socket.inet_aton(found)[0] not in (0, 127)


@pytest.mark.parametrize(
    "interfaces",
    [
        {},
        {"eth0": {"hwaddr": "02:00:00:00:00:01", "addrs": None}},
        {"lo": {"hwaddr": "00:00:00:00:00:00", "addrs": [{"type": 0, "addr": "10.1.1.1"}]}},
        {"eth0": {"hwaddr": "02:00:00:00:00:01", "addrs": [{"type": 1, "addr": "fe80::1"}]}},
        {"eth0": {"hwaddr": "02:00:00:00:00:01", "addrs": [{"type": 0, "addr": "169.254.1.1"}]}},
        {"eth0": {"hwaddr": "02:00:00:00:00:01", "addrs": [{"type": 0, "addr": "127.0.0.1"}]}},
    ],
)
def test_what_is_no_usable_address_of_our_card_does_not_count(interfaces: dict[str, Any]) -> None:
    """Other cards, IPv6, link-local and loopback addresses."""
    assert ipv4_of(interfaces, "02:00:00:00:00:01") is None


def test_source_numbers_are_libvirts() -> None:
    """The numbers are written down so that nothing need be imported; this compares them."""
    libvirt = pytest.importorskip("libvirt")
    for name in ("LEASE", "AGENT", "ARP"):
        number = getattr(libvirt, f"VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_{name}")
        assert sources._SRC[AddressSource(name.lower())] == number


def given_address(tmp_path: pathlib.Path, address: str) -> World:
    """A world whose only guest was given its address."""
    plan = make_plan(1, 1)
    guest = dataclasses.replace(plan.guests[0], static=StaticAddress(address, 24))
    return World(tmp_path, dataclasses.replace(plan, guests=(guest,)))


def test_a_planned_address_is_asked_of_nobody_and_has_to_answer(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever other sources say, and also for a guest that was not started a moment ago."""
    answers = in_turn(False, False, True)
    monkeypatch.setattr(sources, "answers", lambda _: answers())
    world = given_address(tmp_path, "10.89.0.82")
    domain = FakeDomain()
    mac = script(world, domain)
    domain.answers = {AGENT: told(mac)}
    found = result_of(world.run(discover_address, "guest", 5.0), "j17-r0")
    assert (found.address, found.source) == ("10.89.0.82", AddressSource.STATIC)
    assert domain.asked == []


def test_a_planned_address_that_never_answers_is_late(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is no DHCP server to look at."""
    monkeypatch.setattr(sources, "answers", lambda _: False)
    world = given_address(tmp_path, "10.89.0.82")
    script(world, FakeDomain())
    with pytest.raises(DeadlineExceeded) as caught:
        raise first_error(world.run(discover_address, "guest", 0.8), "j17-r0")
    assert "static: 10.89.0.82, where nothing answers; look at the bridge br0; " in str(caught.value)


def test_a_guest_without_a_planned_address_has_no_static_one(world: World) -> None:
    """Asking for it by name helps nobody."""
    script(world, FakeDomain())
    with pytest.raises(NoAddress, match="static: none was planned"):
        raise first_error(ask(world, "static"), "j17-r0")
