"""docs/requirements.md answers each line of the description that the package was made from."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs/requirements.md"
LINES = (
    "cloud-utils on all compute hosts",
    "guest os must be Debian-, RedHat-based or OSv",
    "guest image file must contain the os name (ubuntu/debian,redhat/centos,osv)",
    "disable known hosts file for ssh (physical hosts)",
    "cloud-images only (cloud-init)",
    "data-source 'file' enabled (for cloud-init)",
    "correct access rights for users to libvirt",
    "arp -an executeable by users",
    "realpath",
    "A way to deploy vm imgs to the nodes (e.g. monted shared filesystem)",
    (
        "copy the prologue and epilogue script onto the compute node's '/var/spool/torque/mom_priv/', do not "
        "rename them and ensure '-r-x-----'"
    ),
    "place the templates under /opt/torque/misc/templates",
    (
        "install the qsub wrapper module as usual in the module system, place it in '/opt/system/' or "
        "modify the metadata file appropriately"
    ),
    "execute the test(s) to verify functionality",
)
"""Requirements and deployment, word for word."""


def answers() -> dict[str, tuple[str, str]]:
    """Line of the description → what became of it, and why."""
    cells = [re.split(r"(?<!\\)\|", line)[1:-1] for line in PAGE.read_text().splitlines() if line[:1] == "|"]
    return {row[0].strip(): (row[1].strip(), row[2].strip()) for row in cells}


@pytest.mark.parametrize("line", LINES)
def test_each_line_has_its_answer(line: str) -> None:
    """Kept, replaced or not needed; with what, or why."""
    what, why = answers()[line]
    assert what in {"kept", "replaced", "not needed"}
    assert why.endswith(".")
