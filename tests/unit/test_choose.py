"""Who may tell the operating system family of an image, and who is believed."""

from __future__ import annotations

import itertools

import pytest

from nornir_torque_vm.choose import settle_distro
from nornir_torque_vm.errors import Blame, RequestError
from nornir_torque_vm.model import Distro

D, R, O = Distro.DEBIAN, Distro.REDHAT, Distro.OSV  # noqa: E741 - one letter a column


@pytest.mark.parametrize(
    ("key", "catalogue", "name", "family", "teller"),
    [
        (None, None, None, R, "setting distro_default"),
        (None, None, D, D, "its file name"),
        (None, O, None, O, "the image catalogue"),
        (None, O, D, O, "the image catalogue"),
        (O, None, None, O, "asked for"),
        (D, None, D, D, "asked for"),
        (O, O, D, O, "asked for"),
    ],
)
def test_the_first_that_knows_is_believed(
    key: Distro | None, catalogue: Distro | None, name: Distro | None, family: Distro, teller: str
) -> None:
    """Key, catalogue, file name, default, in this order; the catalogue may correct a file name."""
    assert settle_distro(key, catalogue, name, R) == (family, teller)


def test_the_user_may_not_contradict_the_image() -> None:
    """In the earlier system the file name won in silence."""
    for key, catalogue, name in itertools.product((D, R, O), (None, D, R, O), (None, D, R, O)):
        told = catalogue or name
        if told in (None, key):
            assert settle_distro(key, catalogue, name, D) == (key, "asked for")
            continue
        with pytest.raises(RequestError) as caught:
            settle_distro(key, catalogue, name, D)
        assert caught.value.blame is Blame.USER
        teller = "the image catalogue" if catalogue else "its file name"
        assert str(caught.value) == (
            f"distro={key} contradicts the image, which is {told} by {teller}; "
            f"leave distro away, or write distro={told}"
        )
