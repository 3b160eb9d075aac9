"""Checking a host against its settings: pool, image, the MOM, qsub, templates; each finding one line."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from config_kit import Host, forget_templates

from nornir_torque_vm.config.check import Level
from nornir_torque_vm.config.kinds import Hosts
from nornir_torque_vm.config.settings import Settings
from nornir_torque_vm.hostcheck import check_host, mom_alarm
from nornir_torque_vm.render import trial

ROOT = Path(__file__).resolve().parents[2]
OK, NOTE, WARN, ERROR = Level.OK, Level.NOTE, Level.WARN, Level.ERROR


@pytest.fixture(autouse=True)
def _as_new(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Each test has templates of its own; libvirt's slow tool is called by the test that is about it."""
    forget_templates()
    monkeypatch.setattr(trial, "VALIDATOR", "no-such-program")
    yield
    forget_templates()


@pytest.fixture
def host(tmp_path: Path) -> Host:
    tmp_path.chmod(0o755)
    return Host(tmp_path)


def test_a_host_as_it_should_be_has_no_problems(host: Host) -> None:
    """Each thing is said to be right."""
    found = host.findings(template_dir=str(host.own), site_submit_filter=str(host.filter))
    assert {finding.level for finding in found.values()} == {OK}
    names = "image_pool img_default prologalarm real_qsub_on_nodes site_submit_filter template_dir"
    assert sorted(found) == names.split()


def test_a_pool_that_is_missing_or_no_directory_is_an_error(host: Host) -> None:
    """With the system's reason."""
    assert host.one("image_pool", image_pool="/nowhere") == (
        ERROR, "/nowhere cannot be read: No such file or directory; create it, or correct the setting",
    )  # fmt: skip
    level, text = host.one("image_pool", image_pool=str(host.qsub))
    assert (level, text.partition(";")[0]) == (ERROR, f"{host.qsub} is not a directory")


def test_a_pool_that_others_can_write_is_a_warning(host: Host) -> None:
    """Who exchanges an image has what root starts."""
    host.pool.chmod(0o777)
    level, text = host.one("image_pool", WARN)
    assert level is WARN
    assert text.startswith(f"{host.pool} can be written by others (mode 0777), who could exchange images")


def test_a_pool_that_users_cannot_read_is_a_warning(host: Host) -> None:
    """The wrapper looks at images with the user's rights."""
    host.pool.chmod(0o750)
    assert host.one("image_pool", WARN) == (
        WARN, f"users cannot look into {host.pool}, and submit nothing; chmod o+rx {host.pool}"
    )  # fmt: skip
    host.pool.chmod(0o755)
    host.image.chmod(0o600)
    assert host.one("img_default") == (
        WARN, f"users cannot read {host.image}, and not submit with it; chmod o+r {host.image}"
    )  # fmt: skip


def test_a_catalogue_that_cannot_be_read_is_an_error(host: Host) -> None:
    """One with entries is counted."""
    (host.pool / "catalogue.json").write_text('{"debian.qcow2": {"distro": "debian"}}')
    assert host.one("image_pool") == (OK, f"{host.pool} is there; its catalogue has 1")
    (host.pool / "catalogue.json").write_text("{")
    level, text = host.one("image_pool")
    assert (level, text.partition(":")[0]) == (
        ERROR, f"the image catalogue {host.pool}/catalogue.json cannot be used"
    )  # fmt: skip


def test_a_default_image_is_looked_at_as_a_submission_does(host: Host) -> None:
    """None at all is a note: a site may want users to choose."""
    assert host.one("img_default", img_default="")[0] is NOTE
    level, text = host.one("img_default", img_default="debain.qcow2")
    assert (level, text.partition(" in the")[0]) == (ERROR, "image 'debain.qcow2' does not exist")
    host.image.write_bytes(b"not an image")
    assert host.one("img_default")[0] is ERROR


def test_the_moms_own_limit_is_compared(host: Host) -> None:
    """A hook is killed by the MOM's value, whatever ours says."""
    assert host.one("prologalarm")[0] is OK
    host.mom.write_text("$prologalarm 600\n")
    assert host.one("prologalarm") == (
        WARN,
        (
            f"it is 300 here, and {host.mom} says 600; hooks are killed 10 s before the MOM's value: write "
            "the same into both"
        ),
    )
    host.mom.write_text("")
    assert "does not say, which means 300" in host.one("prologalarm", prologalarm=400.0)[1]
    host.mom.write_text("$prologalarm soon\n")
    assert host.one("prologalarm")[0] is ERROR
    host.mom.unlink()
    assert host.one("prologalarm") == (NOTE, f"not compared: there is no {host.mom} here")


@pytest.mark.parametrize(
    ("config", "seconds"),
    [
        ("", 300), ("$prologalarm 100", 100), ("$prologalarm\t100\n$prologalarm 200 \n", 200),
        ("#$prologalarm 100", 300), ("$prologalarms 100", 300), ("$prologalarm", None),
        ("$prologalarm x", None),
    ],
)  # fmt: skip
def test_the_last_line_of_a_moms_configuration_counts(config: str, seconds: float | None) -> None:
    """Without one it is TORQUE's default."""
    assert mom_alarm(config) == seconds


def test_the_real_qsub_is_that_of_this_host(host: Host) -> None:
    """On the server another one than on all other hosts."""
    assert "real_qsub_on_nodes" in host.findings(server_hostname="head")
    assert "real_qsub_on_server" in host.findings(server_hostname="node1")


def test_a_real_qsub_that_cannot_be_called_is_an_error(host: Host) -> None:
    """On a node only a warning: it need not submit."""
    host.qsub.chmod(0o644)
    assert host.one("real_qsub_on_nodes") == (
        WARN,
        (
            f"{host.qsub} has no right to be executed; name the qsub of TORQUE; without it no job is "
            "submitted from this host"
        ),
    )
    shutil.rmtree(host.torque / "mom_priv")
    assert host.one("real_qsub_on_nodes")[0] is ERROR
    level, text = host.one("real_qsub_on_nodes", real_qsub_on_nodes="/nowhere/qsub")
    assert (level, text.partition(";")[0]) == (
        ERROR, "/nowhere/qsub cannot be executed: No such file or directory"
    )  # fmt: skip
    assert host.one("real_qsub_on_nodes", real_qsub_on_nodes=str(host.own))[1].startswith(
        f"{host.own} is not a file"
    )


def test_our_own_programs_are_not_taken_for_the_sites(host: Host) -> None:
    """They would call themselves for ever; links and copies are found out."""
    link = host.qsub.with_name("link")
    link.symlink_to(ROOT / "wrapper" / "qsub")
    copy = host.qsub.with_name("copy")
    shutil.copy(ROOT / "wrapper" / "submit-filter", copy)
    level, text = host.one("real_qsub_on_nodes", real_qsub_on_nodes=str(link))
    assert (level, text) == (
        ERROR,
        f"{link} is our wrapper, which would call itself; name the qsub of TORQUE",
    )
    level, text = host.one("site_submit_filter", site_submit_filter=str(copy))
    assert (level, text.partition(",")[0]) == (ERROR, f"{copy} is our own filter")
    assert host.one("site_submit_filter", site_submit_filter="/nowhere")[0] is ERROR


def test_switched_off_hosts_are_noted(host: Host) -> None:
    """So that nobody wonders."""
    assert host.one("disabled_hosts_list", disabled_hosts_list=Hosts("node1")) == (
        NOTE, "VM jobs are switched off on this host, node1.site",
    )  # fmt: skip
    assert "disabled_hosts_list" not in host.findings(disabled_hosts_list=Hosts("node2"))
    found = host.findings(disable_mikelangelo_hpc_stack=True)
    assert found["disable_mikelangelo_hpc_stack"].level is NOTE
    everywhere = host.findings(disabled_hosts_list=Hosts("*"))
    assert everywhere["template_dir"].level is OK, "templates are tried on a host that is switched off too"


# Templates


def tried(host: Host, **files: str) -> dict[str, tuple[Level, str]]:
    """Findings about the site's templates by name."""
    for name, text in files.items():
        (host.own / f"{name}.j2").write_text(text)
    settings = Settings(**{**host.values, "template_dir": str(host.own)})  # type: ignore[arg-type]
    findings = [found for found in check_host(settings, "node1") if found.subject == "template_dir"]
    built_in, *own = findings
    assert built_in.level is OK
    names = (next(name for name in files if f"{name}.j2" in found.text) for found in own)
    return {
        name: (found.level, found.text.replace(f"{host.own}/", ""))
        for name, found in zip(names, own, strict=True)
    }


def domain(host: Host, text: str) -> tuple[Level, str]:
    return tried(host, **{"domain.xml": text})["domain.xml"]


def test_a_sites_template_is_filled_in(host: Host) -> None:
    """With everything it includes."""
    extending = (
        '{% extends "builtin/domain.xml.j2" %}{% block more_devices %}{% include "dog.j2" %}{% endblock %}'
    )
    found = tried(host, **{"domain.xml": extending, "dog": '<watchdog model="i6300esb" action="reset"/>'})
    assert {level for level, _ in found.values()} == {OK}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{% if %}", "domain.xml.j2: template domain.xml.j2 line 1: Expected an expression"),
        ("\n{{ nothing }}", "domain.xml.j2: template domain.xml.j2 line 2: 'nothing' is undefined"),
        ("<domain>", "domain.xml.j2: for hypervisor=kvm it gives no well-formed XML: no element found"),
        (
            (
                "{% if shape.domain_type == 'qemu' %}<a>{% else %}<domain type='kvm'><name>a</name>"
                "<memory>1</memory><os><type>hvm</type></os></domain>{% endif %}"
            ),
            "domain.xml.j2: for hypervisor=qemu it gives no well-formed XML: no element found",
        ),
    ],
)
def test_a_broken_template_is_found_before_a_job_meets_it(host: Host, text: str, problem: str) -> None:
    """Also one that only some jobs would meet."""
    level, said = domain(host, text)
    assert level is ERROR
    assert said.startswith(problem)


@pytest.mark.skipif(
    not (shutil.which("virt-xml-validate") and shutil.which("xmllint")),
    reason="needs virt-xml-validate (libvirt-clients) and xmllint (libxml2-utils)",
)
def test_a_template_that_libvirt_would_refuse_is_found(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """By libvirt's own schemas."""
    monkeypatch.setattr(trial, "VALIDATOR", "virt-xml-validate")
    wrong = '{% extends "builtin/domain.xml.j2" %}{% block more_devices %}<watchdg/>{% endblock %}'
    level, text = domain(host, wrong)
    assert level is ERROR
    assert text.endswith(
        "for hypervisor=kvm it gives XML that libvirt refuses: something in <devices> is wrong"
    )
    forget_templates()
    level, text = domain(host, "<domain/>")
    assert level is ERROR
    assert "XML that libvirt refuses: " in text


def test_without_libvirts_tool_xml_is_still_parsed(host: Host) -> None:
    """A host without libvirt-clients."""
    assert domain(host, "<domain/>")[0] is OK
    forget_templates()
    assert domain(host, "<domain>")[0] is ERROR


def test_a_template_that_nothing_uses_is_a_warning(host: Host) -> None:
    """Mostly a slip in its name; its content does not matter then."""
    found = tried(host, **{"domian.xml": "{% if %}", "other": ""})
    assert {level for level, _ in found.values()} == {WARN}
    assert found["other"][1] == "nothing uses other.j2"


def test_a_template_directory_that_cannot_be_used_is_an_error(host: Host) -> None:
    """Missing, or open to others."""
    assert host.one("template_dir", template_dir="/nowhere") == (
        ERROR, "template_dir: /nowhere cannot be read: No such file or directory",
    )  # fmt: skip
    host.own.chmod(0o777)
    assert "can be written by others" in host.one("template_dir", template_dir=str(host.own))[1]


def test_on_a_submit_host_templates_are_left_to_the_nodes(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has no jinja2."""
    monkeypatch.delitem(sys.modules, "nornir_torque_vm.render.trial")
    monkeypatch.setitem(sys.modules, "jinja2", None)
    level, text = host.one("template_dir")
    assert (level, text.partition(":")[0]) == (NOTE, "templates are not tried")


def test_a_domain_is_tried_for_every_kind_of_guest(host: Host) -> None:
    """Each hypervisor, with and without images below the image."""
    (host.own / "domain.xml.j2").write_text("<d t='{{ shape.domain_type }}' n='{{ chain | length }}'/>")
    kinds = set()
    original = trial._not_well_formed

    def note(text: str) -> str:
        kinds.add(text)
        return original(text)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trial, "_not_well_formed", note)
        host.findings(template_dir=str(host.own))
    assert {f"<d t='{kind}' n='{number}'/>" for kind in ("kvm", "qemu") for number in (1, 2)} <= kinds


def test_as_a_user_only_what_can_be_read_is_looked_at(host: Host) -> None:
    """A limit that cannot be read is no error."""
    if os.geteuid() == 0:
        host.mom.unlink()
        host.mom.mkdir()
    else:
        host.mom.chmod(0)
    assert host.one("prologalarm")[0] is NOTE


@pytest.mark.skipif(os.geteuid() != 0, reason="the program has to be root's")
def test_a_program_for_addresses_is_looked_at_on_nodes(host: Host, tmp_path: Path) -> None:
    """As the prologue will: whose it is, and who may write it."""
    program = tmp_path / "address"
    asked: dict[str, Any] = {"static_ip_mapping": True, "ip_script": str(program)}
    assert "ip_script" not in host.findings(ip_script=str(program))
    assert host.one("ip_script", **asked) == (
        ERROR, f"ip_script {program} cannot be opened: No such file or directory",
    )  # fmt: skip
    program.write_text("#!/bin/sh\n")
    program.chmod(0o775)
    level, text = host.one("ip_script", **asked)
    assert (level, "may be written by others than root; chown root" in text) == (ERROR, True)
    program.chmod(0o755)
    assert host.one("ip_script", **asked) == (OK, f"{program} is there, and only root may write it")
    shutil.rmtree(host.torque / "mom_priv")
    assert host.one("ip_script", **asked) == (NOTE, "left to the nodes: there is no MOM here")


@pytest.mark.parametrize(
    ("text", "mode", "found"),
    [
        ("timezone: UTC\n", 0o600, (OK, "can be told to guests")),
        ("timezone: UTC\n", 0o666, (ERROR, "who could be root in every guest")),
        ("users: []\n", 0o600, (ERROR, "sets 'users', which is set here already")),
        ("a: [\n", 0o600, (ERROR, "is not YAML: line 2")),
    ],
)
def test_cloud_init_settings_of_the_site_are_looked_at_on_nodes(
    host: Host, tmp_path: Path, text: str, mode: int, found: tuple[Level, str]
) -> None:
    """As a seed would have them."""
    path = tmp_path / "metadata.yaml"
    path.write_text(text)
    path.chmod(mode)
    level, said = host.one("metadata_file", metadata_file=str(path))
    assert (level, found[1] in said) == (found[0], True)
    assert "metadata_file" not in host.findings()
    shutil.rmtree(host.torque / "mom_priv")
    assert host.one("metadata_file", metadata_file=str(path)) == (
        NOTE, "left to the nodes: there is no MOM here",
    )  # fmt: skip
