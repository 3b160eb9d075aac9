"""``torque.cfg``: read as TORQUE reads it, edited so that nothing else in it changes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nornir_torque_vm.errors import InstallError
from nornir_torque_vm.install.torquecfg import READ, name_filter, read_filter

OURS = "/opt/torque-vm/wrapper/submit-filter"
PATH = "/var/spool/torque/torque.cfg"

PIECES = st.sampled_from(
    [b"SUBMITFILTER", b"SUBMITFILTER /site/filter", b"\nSUBMITFILTER\t=\t/site/f2\n", b"#", b"\n", b" ", b"=",
     b"QSUBSLEEP 1\n", b"SERVERHOST head\r\n", b"# SUBMITFILTER " + OURS.encode() + b"\n", b"\0", b"\xff\xfe",
     b"SUBMITFILTER " + OURS.encode(), b"XSUBMITFILTERX", b"x"]
)  # fmt: skip
CONFIGS = st.lists(PIECES | st.binary(max_size=5), max_size=12).map(b"".join)


@pytest.mark.parametrize(
    ("config", "found"),
    [
        (b"", None),
        (b"SUBMITFILTER /a/b\n", b"/a/b"),
        (b"SUBMITFILTER=/a/b", b"/a/b"),
        (b"SERVERHOST head\n  SUBMITFILTER\t= /a/b # the old one\n", b"/a/b"),
        (b"SUBMITFILTER\n\n/a/b\n", b"/a/b"),
        (b"#SUBMITFILTER /no\nSUBMITFILTER /yes", b"/yes"),
        (b"SERVERHOST head # SUBMITFILTER /no", None),
        (b"SUBMITFILTER /first\nSUBMITFILTER /second\n", b"/first"),
        (b"OLDSUBMITFILTER /a/b\n", b"/a/b"),
        (b"submitfilter /a\n", None),
        (b"SUBMITFILTER", None),
        (b"SUBMITFILTER \n", None),
        (b"#" * (READ - 12) + b"\nSUBMITFILTER /late\n", None),
        (b"\0\nSUBMITFILTER /behind/a/nul\n", None),
    ],
)
def test_the_filter_is_the_one_qsub_takes(config: bytes, found: bytes | None) -> None:
    """The first occurrence of the word outside comments, and the word after it."""
    there = read_filter(config)
    assert (there and there.path) == found


@pytest.mark.parametrize(
    ("config", "edited"),
    [
        (b"", f"SUBMITFILTER {OURS}\n"),
        (b"# of 2012\nSERVERHOST head", f"SUBMITFILTER {OURS}\n# of 2012\nSERVERHOST head"),
        (b"A 1\n SUBMITFILTER\t=/site/f # old\nB 2\n", f"A 1\n SUBMITFILTER\t={OURS} # old\nB 2\n"),
    ],
)
def test_only_the_line_of_the_filter_changes(config: bytes, edited: str) -> None:
    """A new one stands on top; another filter's path is exchanged and its line kept."""
    edit = name_filter(PATH, config, OURS)
    assert edit is not None
    assert edit.applied(config).decode() == edited


def test_a_file_that_names_our_filter_stays() -> None:
    """However it is written."""
    assert name_filter(PATH, b"SUBMITFILTER = " + OURS.encode() + b"#\n", OURS) is not None
    assert name_filter(PATH, b"SUBMITFILTER = " + OURS.encode() + b" #\n", OURS) is None


@given(CONFIGS)
def test_qsub_takes_our_filter_after_the_edit_and_the_old_file_after_it_is_undone(config: bytes) -> None:
    """Whatever is in the file; or the edit is refused."""
    try:
        edit = name_filter(PATH, config, OURS)
    except InstallError:
        return
    if edit is None:
        return
    edited = edit.applied(config)
    there = read_filter(edited)
    assert there is not None
    assert there.path.decode() == OURS
    assert edit.undone(edited) == config
    assert name_filter(PATH, edited, OURS) is None


@given(CONFIGS, st.lists(st.sampled_from([b"QSUBSLEEP 2\n", b"# new\n"]), max_size=3).map(b"".join))
def test_an_edit_is_undone_beside_changes_of_others(config: bytes, added: bytes) -> None:
    """Lines that an administrator put on top or at the end since then stay."""
    edit = name_filter(PATH, config, OURS) if read_filter(config) is None else None
    if edit is not None:
        assert edit.undone(added + edit.applied(config) + added) == added + config + added


def test_an_edit_that_somebody_took_out_is_not_undone() -> None:
    """There is nothing to find any more."""
    edit = name_filter(PATH, b"", OURS)
    assert edit is not None
    assert edit.undone(b"SUBMITFILTER /another\n") is None
    assert edit.undone(b"# SUBMITFILTER " + OURS.encode()) is None


@pytest.mark.parametrize(
    "path", ["/opt/my vm/f", "/opt/a'b", "/opt/#1/f", "/opt/a=b/f", "opt/f", "/opt/$x/f", ""]
)
def test_a_path_that_torque_would_hand_to_a_shell_in_pieces_is_refused(path: str) -> None:
    """``sh -c "PATH 'argument' … >file"``; and ``torque.cfg`` knows no quotes."""
    with pytest.raises(InstallError, match="take a prefix of letters"):
        name_filter(PATH, b"", path)


def test_a_file_that_cannot_be_edited_says_what_to_do() -> None:
    """The filter's path is cut where qsub stops reading, so exchanging it would leave the rest."""
    config = b"#" * (READ - 20) + b"\nSUBMITFILTER /site/filter\n"
    with pytest.raises(InstallError, match="too odd to edit; put 'SUBMITFILTER /opt/"):
        name_filter(PATH, config, OURS)
