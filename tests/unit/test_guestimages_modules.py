"""Kernel modules: insmod's order, and what may be cut off."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nornir_torque_vm.guestimages import modules


def module(*needs: str) -> bytes:
    """As much of a module as matters: the .modinfo line."""
    return b"\x7fELF\0license=GPL\0depends=" + ",".join(needs).encode() + b"\0name=x\0"


@st.composite
def graphs(draw: st.DrawFn) -> dict[str, tuple[str, ...]]:
    """Modules that need only ones with smaller numbers."""
    count = draw(st.integers(1, 8))
    return {
        f"m{number}": tuple(draw(st.lists(st.sampled_from([f"m{n}" for n in range(number)]), unique=True)))
        if number
        else ()
        for number in range(count)
    }


@given(graphs(), st.data())
def test_every_module_comes_after_what_it_needs(
    graph: dict[str, tuple[str, ...]], data: st.DataObject
) -> None:
    """All that is needed is there once, nothing else is."""
    wanted = data.draw(st.lists(st.sampled_from(sorted(graph))))
    order = modules.load_order(wanted, lambda name: module(*graph[name]))
    assert len(set(order)) == len(order)
    for place, name in enumerate(order):
        assert set(graph[name]) <= set(order[:place])
    needed, todo = set(), list(wanted)
    while todo:
        name = todo.pop()
        needed.add(name)
        todo += [need for need in graph[name] if need not in needed]
    assert set(order) == needed


def test_file_names_and_the_kernel_spell_differently() -> None:
    """virtio-rng.ko calls itself virtio_rng, and others need it by either name."""
    assert modules.depends(module("virtio-ring")) == ("virtio_ring",)
    assert modules.load_order(["virtio-rng"], lambda name: module()) == ("virtio_rng",)


def test_what_is_no_module_is_refused() -> None:
    """Rather than shipped without its needs."""
    with pytest.raises(ValueError, match="no kernel module"):
        modules.depends(b"\x7fELF")


@given(st.binary(max_size=50), st.binary(max_size=50))
def test_the_signature_is_cut_off_exactly(code: bytes, signature: bytes) -> None:
    """Layout: module, signature, 12 bytes that end in its length, the magic."""
    footer = bytes(8) + len(signature).to_bytes(4, "big") + b"~Module signature appended~\n"
    assert modules.unsigned(code + signature + footer) == code


def test_a_module_without_signature_stays_as_it_is() -> None:
    """Not every kernel signs."""
    assert modules.unsigned(module()) == module()
