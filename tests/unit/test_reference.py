"""The reference page: made from the tables, up to date, and complete."""

from __future__ import annotations

import pathlib
import re
import runpy

import pytest

from nornir_torque_vm.config.obsolete import REASONS
from nornir_torque_vm.config.proofs import proofs
from nornir_torque_vm.config.reference import proof_name, reference
from nornir_torque_vm.config.settings import SETTINGS
from nornir_torque_vm.keys import KEYS

TESTS = pathlib.Path(__file__).parents[1]
PAGE = TESTS.parent / "docs" / "configuration.md"


def page() -> str:
    """As it should be."""
    return reference(proofs(TESTS))


def rows() -> list[list[str]]:
    """The cells of all tables; a bar that is text has a backslash before it."""
    lines = [line for line in page().splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


def test_the_page_is_up_to_date() -> None:
    """Renew it with ``python -m nornir_torque_vm.config.reference > docs/configuration.md``."""
    assert PAGE.read_text(encoding="utf-8") == page()


def test_the_module_prints_it(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """That is how it is renewed, in the project's own folder."""
    monkeypatch.chdir(TESTS.parent)
    with pytest.warns(RuntimeWarning, match="sys.modules"):
        runpy.run_module("nornir_torque_vm.config.reference", run_name="__main__")
    assert capsys.readouterr().out == page()


def test_every_setting_has_its_row() -> None:
    """Once, with what it takes, its default as one writes it, and its older names."""
    found = {row[0].strip("`"): row for row in rows() if len(row) == 6}
    assert sorted(found) == sorted(field.name for field in SETTINGS)
    assert len([row for row in rows() if len(row) == 6]) == len(found)
    for field in SETTINGS:
        _, meaning, values, _, earlier, _ = found[field.name]
        assert meaning == field.help
        assert values == field.kind.words.replace("|", r"\|").replace("<", r"\<")
        assert earlier == ", ".join(f"`{alias.upper()}`" for alias in field.aliases)
    assert found["ram_default"][3] == '`"2G"`'
    assert found["parallel"][3] == "`true`"
    assert found["address_sources"][3] == '`["agent", "lease", "arp", "neighbour"]`'


def test_every_key_has_its_row() -> None:
    """In the order of the table, with the setting its default comes from."""
    found = [row for row in rows() if len(row) == 5]
    assert [row[0] for row in found] == [f"`{key.name}`" for key in KEYS]
    defaults = [f"setting `{key.default_from}`" if key.default_from else "none" for key in KEYS]
    assert [row[3] for row in found] == defaults


def test_every_name_without_a_counterpart_is_explained() -> None:
    """Each once."""
    found = [name for row in rows() if len(row) == 2 for name in re.findall("`([A-Z_0-9]+)`", row[0])]
    assert sorted(found) == sorted(REASONS)


def test_a_test_says_itself_what_it_proves(tmp_path: pathlib.Path) -> None:
    """In a module or in a class, one name or several; what stands in a comment or a text does not count."""
    (tmp_path / "lab").mkdir()
    (tmp_path / "lab/test_some.py").write_text(
        '@pytest.mark.proves("ram", "ram_default")\n@pytest.mark.lab\ndef test_one(lab): ...\n'
        'class TestAll:\n    @pytest.mark.proves("ram")\n    def test_two(self): ...\n'
        '# @pytest.mark.proves("vcpus")\nTEXT = """@pytest.mark.proves("vcpus")"""\ndef test_three(): ...\n'
    )
    assert proofs(tmp_path) == {
        "ram": ("lab/test_some.py::test_one", "lab/test_some.py::test_two"),
        "ram_default": ("lab/test_some.py::test_one",),
    }


def test_what_a_test_proves_is_there() -> None:
    """A name that was changed in the tables has to be changed in the tests."""
    known = {proof_name(field) for field in SETTINGS} | {key.name for key in KEYS}
    assert set(proofs(TESTS)) <= known


def test_the_proof_nearest_to_a_guest_is_named() -> None:
    """Those in a lab before those on libvirt's test driver."""
    shown = reference({"ram": ("unit/test_a.py::test_a", "lab/test_b.py::test_b")})
    (row,) = [line for line in shown.splitlines() if line.startswith("| `ram` |")]
    assert row.endswith("| `lab/test_b.py::test_b` |")


def test_no_setting_and_no_key_is_without_proof() -> None:
    """A new one needs a test that looks at its effect and says so."""
    proved = proofs(TESTS)
    names = [*map(proof_name, SETTINGS), *(key.name for key in KEYS)]
    assert [name for name in names if name not in proved] == []


def test_a_setting_with_the_name_of_a_key_has_a_proof_of_its_own() -> None:
    """What a job asks for is something else than what a site allows."""
    assert [name for name in map(proof_name, SETTINGS) if " " in name] == [
        "setting iocm_min_cores", "setting iocm_max_cores",
    ]  # fmt: skip
    shown = reference({"iocm_max_cores": ("unit/test_a.py::test_key",),
                       "setting iocm_max_cores": ("unit/test_a.py::test_setting",)})  # fmt: skip
    found = [line.rpartition("::")[2] for line in shown.splitlines() if line.startswith("| `iocm_max_cores`")]
    assert found == ["test_setting` |", "test_key` |"]
