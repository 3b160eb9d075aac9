"""The pool's rules, with connections that open, hang and fail on command."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from libvirt_kit import limit
from nornir_kit import eventually

from nornir_torque_vm.connections import pool as pool_module
from nornir_torque_vm.connections.pool import Link, Pool, close_soon
from nornir_torque_vm.threads import stragglers


class Wire:
    """A connection that can be cut."""

    def __init__(self) -> None:
        self.alive, self.closed = True, 0


class World:
    """Opens wires; ``gate`` holds all opens back while it is clear."""

    def __init__(self) -> None:
        self.wires: list[Wire] = []
        self.gate = threading.Event()
        self.gate.set()
        self.error: Exception | None = None
        self.opening = self.asked = 0

    def connect(self, key: str, wanted: Callable[[], bool]) -> Wire:
        self.opening += 1
        self.gate.wait(10)
        self.asked += wanted()
        if self.error is not None:
            raise self.error
        self.wires.append(Wire())
        return self.wires[-1]

    def close(self, key: str, wire: Wire) -> None:
        wire.closed += 1

    def pool(
        self, users_per_link: int = 4, *, lasting: bool = False, instant: bool = False
    ) -> Pool[str, Wire]:
        return Pool(
            self.connect, self.close, lambda wire: wire.alive,
            users_per_link=users_per_link, lasting=lambda _: lasting, instant=lambda _: instant,
        )  # fmt: skip

    def open_wires(self) -> int:
        return sum(not wire.closed for wire in self.wires)


@pytest.fixture
def world() -> World:
    return World()


def test_few_hosts_share_a_connection_and_many_share_a_few(world: World) -> None:
    """Four to a connection while there may be more, then the least used one takes the next."""
    pool = world.pool()
    links = [pool.acquire("n1", 3) for _ in range(15)]
    users: dict[int, int] = {}
    for link in links:
        users[id(link)] = users.get(id(link), 0) + 1
    assert sorted(users.values()) == [5, 5, 5]
    assert (pool.count("n1"), len(world.wires)) == (3, 3)
    assert [id(link) for link in links[:4]] == [id(links[0])] * 4
    for link in links:
        pool.release(link)
    assert (pool.count("n1"), world.open_wires()) == (0, 0)


def test_keys_do_not_share(world: World) -> None:
    """Another node is another connection."""
    pool = world.pool()
    assert pool.acquire("n1", 5) is not pool.acquire("n2", 5)
    assert (pool.count("n1"), pool.count("n2"), pool.count("n3")) == (1, 1, 0)


def test_hosts_wait_together_for_a_connection_that_is_being_opened(world: World) -> None:
    """Four threads at once are one open, not four."""
    world.gate.clear()
    pool = world.pool()
    links: list[Link[str, Wire]] = []
    threads = [threading.Thread(target=lambda: links.append(pool.acquire("n1", 5))) for _ in range(4)]
    for thread in threads:
        thread.start()
    assert eventually(lambda: world.opening == 1)
    world.gate.set()
    for thread in threads:
        thread.join()
    assert (len(links), len(world.wires)) == (4, 1)


def test_a_failure_to_open_reaches_all_who_wait_and_is_not_kept(world: World) -> None:
    """The next host tries afresh."""
    world.gate.clear()
    world.error = OSError("refused")
    pool = world.pool()
    said: list[str] = []

    def use() -> None:
        try:
            pool.acquire("n1", 5)
        except OSError as error:
            said.append(str(error))

    threads = [threading.Thread(target=use) for _ in range(3)]
    for thread in threads:
        thread.start()
    assert eventually(lambda: world.opening == 1)
    world.gate.set()
    for thread in threads:
        thread.join()
    assert said == ["refused"] * 3
    assert pool.count("n1") == 0
    world.error = None
    assert pool.acquire("n1", 5).wait(0) is world.wires[0]


def test_nobody_waits_longer_than_the_own_deadline_and_what_comes_late_is_closed(world: World) -> None:
    """An open that hangs is left behind; when it succeeds after all, nothing leaks."""
    world.gate.clear()
    pool = world.pool()
    began = time.monotonic()
    with limit(0.1), pytest.raises(TimeoutError):
        pool.acquire("n1", 5)
    assert 0.1 <= time.monotonic() - began < 1
    assert pool.count("n1") == 0
    assert "open n1" in stragglers()
    world.gate.set()
    assert eventually(lambda: len(world.wires) == 1 and world.wires[0].closed == 1)
    assert world.asked == 0  # the opener could have known that nobody wanted it any more
    assert eventually(lambda: "open n1" not in stragglers())


def test_one_host_may_give_up_while_another_still_waits(world: World) -> None:
    """Each has its own deadline; the connection lives as long as somebody wants it."""
    world.gate.clear()
    pool = world.pool()
    patient: list[Link[str, Wire]] = []
    thread = threading.Thread(target=lambda: patient.append(pool.acquire("n1", 5)))
    thread.start()
    assert eventually(lambda: world.opening == 1)
    with limit(0.05), pytest.raises(TimeoutError):
        pool.acquire("n1", 5)
    world.gate.set()
    thread.join()
    assert (patient[0].users, patient[0].wait(0).closed) == (1, 0)


def test_without_a_deadline_an_open_is_bounded_as_well(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a plain script there is no deadline, and an open can hang for ever."""
    monkeypatch.setattr(pool_module, "OPEN_TIMEOUT", 0.05)
    world.gate.clear()
    with pytest.raises(TimeoutError):
        world.pool().acquire("n1", 5)
    world.gate.set()


def test_a_dead_connection_is_not_given_to_anybody(world: World) -> None:
    """Its present users keep it until they notice; it is closed when the last one gives it back."""
    pool = world.pool()
    old = pool.acquire("n1", 5)
    world.wires[0].alive = False
    fresh = pool.acquire("n1", 5)
    assert fresh is not old
    assert (old.usable, fresh.usable, pool.count("n1")) == (False, True, 1)
    pool.release(old)
    assert (world.wires[0].closed, world.wires[1].closed, pool.count("n1")) == (1, 0, 1)


def test_a_lasting_connection_is_the_only_one_and_stays(world: World) -> None:
    """Where the connection is the hypervisor, a second one would be another world."""
    pool = world.pool(lasting=True)
    links = [pool.acquire("n1", 5) for _ in range(20)]
    assert len(world.wires) == 1
    for link in links:
        pool.release(link)
    with pool.own("n1") as wire:
        assert wire is world.wires[0]
    assert world.wires[0].closed == 0
    pool.close_all()
    assert (world.wires[0].closed, pool.count("n1")) == (1, 0)


def test_an_own_connection_is_not_shared_and_ends_with_its_block(world: World) -> None:
    """For long calls beside the shared ones; also closed when the block raises."""
    pool = world.pool()
    shared = pool.acquire("n1", 1)
    lent: list[Wire] = []

    def use() -> None:
        with pool.own("n1") as wire:
            lent.append(wire)
            raise ValueError("out")

    with pytest.raises(ValueError, match="out"):
        use()
    assert (pool.count("n1"), lent[0].closed) == (1, 1)
    assert lent[0] is not shared.wait(0)
    assert shared.wait(0).closed == 0


def test_an_instant_connection_is_opened_in_the_calling_thread(world: World) -> None:
    """What cannot block is spared the thread: a thousand of them are opened in a large test."""
    threads: list[str] = []
    pool: Pool[str, Wire] = Pool(
        lambda key, wanted: threads.append(threading.current_thread().name) or Wire(),  # type: ignore[func-returns-value]
        world.close, lambda wire: wire.alive, users_per_link=4, instant=lambda key: key == "here",
    )  # fmt: skip
    pool.acquire("here", 5)
    pool.acquire("there", 5)
    assert threads == [threading.current_thread().name, "open there"]


def test_after_close_all_nothing_is_usable_and_giving_back_is_harmless(world: World) -> None:
    """The end of a process may come before the end of its hosts."""
    pool = world.pool()
    link = pool.acquire("n1", 5)
    pool.close_all()
    assert (link.usable, world.wires[0].closed) == (False, 1)
    pool.release(link)
    assert world.wires[0].closed == 1


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 9)), max_size=40), st.integers(1, 3))
def test_whatever_the_order_no_link_is_lost_or_closed_early(moves: list[tuple[bool, int]], most: int) -> None:
    """Any sequence of acquire and release: in use means open, unused means closed, never too many."""
    world = World()
    pool = world.pool(users_per_link=2, instant=True)
    held: list[Link[str, Wire]] = []
    for take, index in moves:
        if take:
            held.append(pool.acquire("n1", most))
        elif held:
            pool.release(held.pop(index % len(held)))
        assert all(link.wait(0).closed == 0 for link in held)
        assert pool.count("n1") == world.open_wires() == len({id(link) for link in held}) <= most
    for link in held:
        pool.release(link)
    assert all(wire.closed == 1 for wire in world.wires)


def test_a_close_that_hangs_is_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """Closing a virConnect to a frozen daemon blocks until keepalive gives up; whoever closes goes on."""
    gate = threading.Event()
    began = time.monotonic()
    close_soon(lambda: gate.wait(10), "slow close")
    assert pool_module.CLOSE_WAIT <= time.monotonic() - began < 1
    assert "slow close" in stragglers()
    gate.set()
    assert eventually(lambda: "slow close" not in stragglers())


def test_a_close_that_fails_is_over() -> None:
    """The connection is gone one way or the other."""

    def close() -> None:
        raise OSError("client socket is closed")

    close_soon(close, "failing close")
    assert "failing close" not in stragglers()
