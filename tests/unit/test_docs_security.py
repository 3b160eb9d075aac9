"""docs/security.md: its trust table is the code's, and every test it names exists."""

from __future__ import annotations

import ast
import dataclasses
import re

from render_kit import IMAGE, plan_of
from test_docs import ROOT, section

from nornir_torque_vm.addresses.bridge import bridge_of
from nornir_torque_vm.config.settings import Settings
from nornir_torque_vm.model import UserFiles
from nornir_torque_vm.userfiles import SITE_ROOT, USER_ROOT

PAGE = ROOT / "docs/security.md"


def test_the_trust_table_is_the_codes() -> None:
    """Who reads it decides by it."""
    rows = section(PAGE, "trust")
    assert [row[:2] for row in rows] == [
        ["an image of the site", "the site"], ["an image of the job's owner", "the owner"],
    ]  # fmt: skip
    site = Settings(bridge="br0", user_image_bridge="br1")
    for row, ways, own in zip(rows, (SITE_ROOT, USER_ROOT), (False, True), strict=True):
        kinds = (UserFiles.NFS, UserFiles.VIRTIOFS, UserFiles.NINE_P)
        assert row[2:5] == ["yes" if kind in ways else "no" for kind in kinds]
        bridge = bridge_of(plan_of(image=dataclasses.replace(IMAGE, own=own)), site)
        assert row[5] == {"br0": "yes", "br1": "only if the site says so"}[bridge]


def test_every_hole_has_its_row_and_every_test_named_there_exists() -> None:
    """A test that is renamed or removed would leave a promise without proof."""
    lines = [line for line in PAGE.read_text().splitlines() if re.match(r"\| S\d", line)]
    assert [line.split("|")[1].strip() for line in lines] == [f"S{number}" for number in range(1, 16)]
    for line in lines:
        hole, rule, proof = (cell.strip() for cell in line.strip("|").split("|")[1:])
        assert hole
        assert rule
        named = re.findall(r"`(test_\w+\.py)::(\w+)`", proof)
        assert named, line
        for file, test in named:
            (path,) = (ROOT / "tests").glob(f"*/{file}")
            tree = ast.walk(ast.parse(path.read_text()))
            functions = {node.name for node in tree if isinstance(node, ast.FunctionDef)}
            assert test in functions, f"{file}::{test}"
