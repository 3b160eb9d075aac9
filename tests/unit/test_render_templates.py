"""Templates of a site: they go before the built-in ones, are root's alone, and fail in one line."""

from __future__ import annotations

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from config_kit import forget_templates
from jinja2 import Environment, Template
from render_kit import VOLUMES, parse_xml, plan_of

from nornir_torque_vm.config.settings import Settings
from nornir_torque_vm.errors import RequestError, SettingsError
from nornir_torque_vm.render import templates
from nornir_torque_vm.render.domain import domain_xml
from nornir_torque_vm.render.templates import BUILT_IN, fill
from nornir_torque_vm.trust import exposure

NAME = "domain.xml.j2"


@pytest.fixture(autouse=True)
def _nothing_remembered() -> None:
    """Each test has templates of its own."""
    forget_templates()


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A directory for a site's templates."""
    directory = tmp_path / "templates"
    directory.mkdir(mode=0o755)
    return directory


def render(own: Path | str) -> str:
    plan = plan_of()
    return domain_xml(plan, plan.guests[0], VOLUMES, Settings(template_dir=str(own)))


def refusal(own: Path | str) -> str:
    with pytest.raises(SettingsError) as caught:
        render(own)
    text = str(caught.value)
    assert "\n" not in text
    return text


@pytest.mark.proves("template_dir")
def test_a_sites_template_goes_before_the_built_in_one(own: Path) -> None:
    """By its name alone."""
    (own / NAME).write_text("<domain>{{ guest.name }}</domain>")
    assert render(own) == "<domain>j17-3-r0</domain>"


def test_what_a_site_does_not_have_is_the_built_in_one(own: Path) -> None:
    """An empty directory changes nothing."""
    assert render(own) == render("")


def test_a_sites_template_can_add_to_the_built_in_one(own: Path) -> None:
    """Devices and elements of the domain, without copying the rest."""
    (own / NAME).write_text(
        '{% extends "builtin/domain.xml.j2" %}\n'
        '{% block more_devices %}<watchdog model="itco"/>{% endblock %}\n'
        "{% block more_elements %}{% include 'seclabel.j2' %}{% endblock %}\n"
    )
    (own / "seclabel.j2").write_text('<seclabel type="none"/>')
    root = parse_xml(render(own))
    assert root.find("devices/watchdog") is not None
    assert root.find("seclabel") is not None
    for added in ("devices/watchdog", "seclabel"):
        parent = root.find(added.rpartition("/")[0] or ".")
        assert parent is not None
        parent.remove(parent.find(added.rpartition("/")[2]))  # type: ignore[arg-type]
    plain = parse_xml(render(""))
    assert [element.tag for element in root.iter()] == [element.tag for element in plain.iter()]


def test_values_are_encoded_in_a_sites_template_too(own: Path) -> None:
    """It cannot forget to."""
    (own / NAME).write_text("<a b='{{ name }}'/>")
    assert parse_xml(fill(NAME, str(own), name="'/><x>&")).get("b") == "'/><x>&"
    with pytest.raises(RequestError, match=r"U\+0000"):
        fill(NAME, str(own), name="\0")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("<a>\n{% if %}\n", "line 2: Expected an expression, got 'end of statement block'"),
        ("<a>\n\n{{ gust.name }}", "line 3: 'gust' is undefined"),
        ("{{ guest.nme }}", "line 1: 'nornir_torque_vm.model.Guest object' has no attribute 'nme'"),
        ("\n{{ 1 + 'a' }}", "line 2: TypeError: unsupported operand type(s) for +: 'int' and 'str'"),
        ("{% include 'other' %}", "line 1: there is no template other"),
        ("{% include '../other' %}", "line 1: there is no template ../other"),
        ("{% include ['a', 'b'] %}", "line 1: none of the templates given were found: a, b"),
    ],
)
def test_a_mistake_is_one_line_that_says_where(own: Path, text: str, problem: str) -> None:
    """File and line of the site's template, not of this program."""
    (own / NAME).write_text(text)
    assert refusal(own) == f"template {own / NAME} {problem}"


def test_a_mistake_in_an_included_template_names_that_one(own: Path) -> None:
    """The innermost place is where to look."""
    (own / NAME).write_text("<a>\n{% include 'other' %}")
    (own / "other").write_text("\n\n{{ nothing }}")
    assert refusal(own) == f"template {own / 'other'} line 3: 'nothing' is undefined"


def test_a_file_that_cannot_be_read_is_named(own: Path) -> None:
    """Also one in some other encoding."""
    (own / NAME).mkdir()
    assert refusal(own) == f"template_dir: {own / NAME} cannot be read: Is a directory"
    (own / NAME).rmdir()
    (own / NAME).write_bytes(b"\xff")
    assert refusal(own) == f"template_dir: {own / NAME} cannot be read: it is not UTF-8 text"


def test_a_directory_that_is_missing_is_an_error(tmp_path: Path) -> None:
    """Rather than the built-in template, which the site did not want."""
    assert refusal(tmp_path / "none") == (
        f"template_dir: {tmp_path / 'none'} cannot be read: No such file or directory"
    )


@pytest.mark.parametrize("which", [".", NAME])
@pytest.mark.parametrize("mode", [0o777, 0o1777, 0o757])
def test_what_others_can_write_is_refused(own: Path, which: str, mode: int) -> None:
    """Whoever writes a template can start anything as root; a sticky directory takes new files too."""
    (own / NAME).write_text("<domain/>")
    (own / which).chmod(mode)
    said = refusal(own)
    assert said.startswith(
        f"template_dir: {(own / which).resolve()} can be written by others (mode {mode:04o})"
    )
    assert said.endswith("take the right to write from all others")


def test_a_directory_above_counts_unless_it_is_sticky(own: Path) -> None:
    """In ``/tmp`` nobody can put another directory in its place."""
    above = own.parent
    above.chmod(0o1777)
    assert render(own) == render("")
    forget_templates()
    above.chmod(0o777)
    assert f"{above} can be written by others" in refusal(own)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to give a file away")
def test_what_belongs_to_somebody_else_is_refused(own: Path) -> None:
    """Also behind a link."""
    (own / "other").write_text("<domain/>")
    os.chown(own / "other", 2001, 2001)
    (own / NAME).symlink_to("other")
    assert f"{own / 'other'} belongs to uid 2001, not to root" in refusal(own)


def test_a_group_that_is_not_roots_counts_as_others(tmp_path: Path) -> None:
    """The group of root and our own are no others."""
    tmp_path.chmod(0o770)
    assert exposure(str(tmp_path)) == ""
    if os.geteuid() == 0:
        os.chown(tmp_path, 0, 2001)
        assert "can be written by others (mode 0770)" in exposure(str(tmp_path))


def test_a_template_is_compiled_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many guests, and however many of them ask for it while it is compiled."""
    compiled: list[str | None] = []
    together = threading.Barrier(8)

    def slowly(self: Environment, source: str, name: str | None = None, *words: Any, **more: Any) -> Any:
        compiled.append(name)
        time.sleep(0.05)
        return compile_template(self, source, name, *words, **more)

    def ask(_: int) -> Template:
        together.wait(10)
        return templates.template(NAME, "")

    compile_template: Any = Environment.compile
    monkeypatch.setattr(Environment, "compile", slowly)
    with ThreadPoolExecutor(8) as guests:
        given = list(guests.map(ask, range(8)))
    assert compiled == [NAME]
    assert set(map(id, given)) == {id(templates.template(NAME, ""))}
    assert given[0].filename == str(BUILT_IN / NAME)
