"""Settings for computed addresses: what contradicts is refused when they are read, and checked."""

from __future__ import annotations

import pytest

from nornir_torque_vm.config.check import check_text
from nornir_torque_vm.config.settings import Settings, loads
from nornir_torque_vm.errors import InventoryError, SettingsError
from nornir_torque_vm.nodefile import unfold

GOOD = 'static_network = "10.89.0.0/24"\nstatic_nodes = "node[1-3]"\nstatic_slots = 64\n'


def refusal(text: str) -> str:
    """Why such settings cannot be."""
    with pytest.raises(SettingsError) as caught:
        loads(text, "f.toml")
    return str(caught.value)


def test_the_ranges_of_the_nodes_lie_side_by_side() -> None:
    """From static_first, or else from the network's first address."""
    assert [str(end) for end in loads(GOOD).static_range()] == ["10.89.0.1", "10.89.0.192"]
    settings = loads(GOOD + 'static_first = "10.89.0.63"')
    assert [str(end) for end in settings.static_range()] == ["10.89.0.63", "10.89.0.254"]


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        (
            'static_first = "10.89.0.64"',
            (
                "static_nodes and static_slots need the addresses 10.89.0.64 to 10.89.0.255, and those of "
                "static_network end with 10.89.0.254; take a larger network, fewer static_slots or a lower "
                "static_first"
            ),
        ),
        (
            'static_first = "10.89.1.1"',
            "static_first (10.89.1.1) is no address of static_network (10.89.0.0/24)",
        ),
        (
            'static_first = "10.89.0.0"',
            "static_first (10.89.0.0) is no address of static_network (10.89.0.0/24)",
        ),
        ('static_gateway = "10.89.0.192"', "static_gateway (10.89.0.192) is an address of static_nodes"),
    ],
)
def test_ranges_that_do_not_fit_are_refused_with_a_sentence(changed: str, why: str) -> None:
    """By whoever reads the settings, and by torque-vm config check."""
    assert refusal(GOOD + changed) == f"f.toml: {why}"
    assert why.partition(";")[0] in str(check_text(GOOD + changed, "f.toml").findings[0])


def test_the_router_may_be_anywhere_else() -> None:
    """Before the range or behind it."""
    assert loads(GOOD + 'static_first = "10.89.0.2"\nstatic_gateway = "10.89.0.1"').static_gateway
    assert loads(GOOD + 'static_gateway = "10.89.0.193"').static_gateway


def test_a_node_that_is_named_twice_is_refused() -> None:
    """It would have two ranges, or share one: the check says which."""
    said = refusal('static_nodes = "node[1-3],node2"')
    assert said.endswith("is 'node[1-3],node2' but must name every node once, and names node2 twice")


def test_computed_addresses_need_a_rule() -> None:
    """A network and the nodes in a row, or the site's program."""
    why = (
        "f.toml: static_ip_mapping needs static_network and static_nodes, or ip_script; state them, or leave"
    )
    assert refusal("static_ip_mapping = true").startswith(why)
    assert refusal('static_ip_mapping = true\nstatic_network = "10.0.0.0/8"').startswith(why)
    assert loads('static_ip_mapping = true\nip_script = "/a"').ip_script == "/a"
    assert loads("CUSTOM_IP_MAPPING = true\n" + GOOD).static_ip_mapping
    assert Settings().static_ip_mapping is False


def test_a_network_with_bits_behind_its_prefix_is_refused() -> None:
    """With the one that was meant."""
    assert refusal('static_network = "10.89.0.9/24"') == (
        "f.toml: static_network (10.89.0.9/24) has bits set behind its prefix; write 10.89.0.0/24"
    )


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("", []),
        ("a", ["a"]),
        ("b,a", ["b", "a"]),
        ("n[1-3]", ["n1", "n2", "n3"]),
        ("n[08-10,3].site,x", ["n08", "n09", "n10", "n3"]),
        ("n[7]", ["n7"]),
    ],
)
def test_short_lists_of_nodes_are_unfolded_in_their_order(text: str, names: list[str]) -> None:
    """With the zeros that the first number has."""
    found = [name.removesuffix(".site") for name in unfold(text, 10) if name != "x"]
    assert found == names


def test_a_list_that_is_too_long_is_not_unfolded() -> None:
    """However it comes to be so long."""
    for text in ("n[0-999999999]", "a[0-9],b[0-9]", ",".join(f"n{i}" for i in range(11))):
        with pytest.raises(InventoryError):
            unfold(text, 10)
