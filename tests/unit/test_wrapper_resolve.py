"""What a job will be: request, defaults, limits of the site, and where each value comes from."""

from __future__ import annotations

from typing import Any

import pytest

from nornir_torque_vm.config.settings import Settings
from nornir_torque_vm.errors import RequestError, SettingsError
from nornir_torque_vm.keys import KEYS
from nornir_torque_vm.model import Distro
from nornir_torque_vm.request import Request
from nornir_torque_vm.wrapper.resolve import COMMAND_LINE, ImageFacts, Resolved, gather, resolve

ALL: dict[str, Any] = {
    "iocm_enabled": True, "vrdma_enabled": True, "unclot_enabled": True, "ramdisk_dir": "/memory",
}  # fmt: skip
IMAGE = ImageFacts("debian.qcow2")


def resolved(*texts: str | tuple[str, str], image: ImageFacts = IMAGE, **settings: Any) -> Resolved:
    """Resolve requests of the command line, or of another origin."""
    stated = [(COMMAND_LINE, text) if isinstance(text, str) else text for text in texts]
    return resolve(gather(stated), Settings(img_default="debian.qcow2", **settings), image)


def test_every_key_has_a_value_and_an_origin() -> None:
    """Keys nobody asks for have the site's default, or none."""
    found = resolved(("script line 7", "ram=1G"), "vcpus=2")
    assert list(found.values) == [key.name for key in KEYS]
    assert found.values["ram"] == (1 << 30, "script line 7")
    assert found.values["vcpus"] == (2, "command line")
    assert found.values["arch"] == ("x86_64", "setting arch_default")
    assert found.values["img"] == ("debian.qcow2", "setting img_default")
    assert found.values["distro"] == (Distro.DEBIAN, "file name")
    assert found.values["metadata"] == (None, "not asked for")
    assert found.values["iocm"] == (False, "switched off by the site")


def test_only_what_was_asked_for_rides_in_the_job() -> None:
    """Nodes add the defaults, by the same settings."""
    assert resolved("ram=1G").request == Request(ram=1 << 30)


def test_later_texts_win_key_by_key() -> None:
    """The command line's come last."""
    found = resolved(("script line 2", "ram=1G,vcpus=3"), ("script line 3", "ram=2G"), "VCPUS=4,vcpus=5")
    assert found.request == Request(ram=2 << 30, vcpus=5)
    assert found.values["ram"][1] == "script line 3"


@pytest.mark.parametrize(
    ("origin", "text", "sentence"),
    [
        ("script line 7", "vcpu=2", "script line 7: unknown -vm key 'vcpu'; did you mean vcpus?"),
        ("script line 7", "ram=2", "script line 7: -vm key ram is '2' but must have a unit"),
        (COMMAND_LINE, "iocm=0", "-vm key iocm is '0' but must be true or false; 0 and 1 are refused"),
        (COMMAND_LINE, "vcpus", "-vm has 'vcpus', which is not key=value"),
        ("script line 7", "vms_per_node=9", "script line 7: vms_per_node is 9, and the site allows 8"),
        (COMMAND_LINE, "unclot=yes", "unclot works in osv guests only, and the image is debian (file name)"),
        (COMMAND_LINE, "arch=i686", "arch=i686 contradicts the image, which is x86_64 (image catalogue)"),
        (
            COMMAND_LINE,
            "iocm=on,iocm_min_cores=3,iocm_max_cores=2",
            "iocm_min_cores=3 (command line) is more than iocm_max_cores=2 (command line)",
        ),
        (
            COMMAND_LINE,
            "iocm=on,iocm_min_cores=5",
            "iocm_min_cores=5 (command line) is more than iocm_max_cores=4 (setting iocm_max_cores_default)",
        ),
        (
            COMMAND_LINE,
            "iocm=on,iocm_max_cores=8",
            "iocm_max_cores=8 (command line) is not within the site's limits, 0 to 7",
        ),
    ],
)
def test_what_is_wrong_says_where_it_stands(origin: str, text: str, sentence: str) -> None:
    """A user with a long script and a long command line finds it."""
    with pytest.raises(RequestError) as raised:
        resolved((origin, text), image=ImageFacts("debian.qcow2", arch="x86_64"), **ALL)
    assert str(raised.value).startswith(sentence)


def test_defaults_beyond_the_limits_are_the_sites_fault() -> None:
    """The user who asks for the component cannot mend them."""
    for least, most in ((3, 7), (0, 2)):
        with pytest.raises(
            SettingsError, match=r"iocm_m.._cores=. \(setting iocm_m.._cores_default\) is not"
        ):
            resolved("iocm=on", iocm_min_cores=least, iocm_max_cores=most, **ALL)
    assert resolved("vcpus=1", iocm_max_cores=2, **ALL).request == Request(vcpus=1)


@pytest.mark.parametrize("text", ["iocm=on", "iocm_max_cores=3", "vrdma=yes", "unclot=on,unclot_shmem=2G"])
def test_a_component_that_is_switched_off_is_ignored_with_a_warning(text: str) -> None:
    """The setting says so of the earlier system; in silence a user would never know."""
    component = text.partition("=")[0].partition("_")[0]
    found = resolved(text, "vcpus=2", iocm_enabled_default=True, vrdma_enabled_default=True)
    (warning,) = found.warnings
    assert warning.startswith(f"the site has switched {component} off: {text.partition('=')[0]}=")
    assert found.request == Request(vcpus=2)
    assert found.values[component] == (False, "switched off by the site")


@pytest.mark.proves("on_disabled")
def test_a_site_may_refuse_instead() -> None:
    """With on_disabled; to decline a component is never wrong."""
    with pytest.raises(RequestError, match=r"^script line 4: vrdma was asked for, but the site has switched"):
        resolved(("script line 4", "vrdma=on"), on_disabled="refuse")
    found = resolved("vrdma=off,iocm=no", on_disabled="refuse")
    assert (found.request, found.warnings) == (Request(), ())


def test_shared_memory_by_default_is_for_osv_only() -> None:
    """A default does not make a job of another family fail."""
    osv = ImageFacts("a.qcow2", Distro.OSV, "image catalogue")
    assert resolved(unclot_default=True, **ALL).values["unclot"] == (False, "for osv guests only")
    assert resolved(image=osv, unclot_default=True, **ALL)["unclot"] is True
    assert resolved("unclot=on", image=osv, **ALL).request == Request(unclot=True)


def test_the_catalogue_may_know_the_architecture() -> None:
    """It then rides in the job: nodes would take the site's default."""
    found = resolved(image=ImageFacts("a.qcow2", arch="aarch64"))
    assert found.values["arch"] == ("aarch64", "image catalogue")
    assert found.request == Request(arch="aarch64")
    same = resolved("arch=aarch64", image=ImageFacts("a.qcow2", arch="aarch64"))
    assert same.values["arch"] == ("aarch64", "command line")


def test_the_family_the_user_names_is_his() -> None:
    """The image's is what the image says."""
    image = ImageFacts("a.qcow2", Distro.REDHAT, "setting distro_default")
    assert resolved(image=image).values["distro"] == (Distro.REDHAT, "setting distro_default")
    assert resolved("distro=centos", image=image).values["distro"] == (Distro.REDHAT, COMMAND_LINE)


def test_disks_in_memory_are_offered_where_the_site_says_where() -> None:
    """Its default is its own mistake then; a value from the script is found there."""
    there = Settings(ramdisk_dir="/m", filesystem_type_default="ramdisk")
    assert resolve({}, there, IMAGE)["fs_type"] == "ramdisk"
    with pytest.raises(SettingsError) as caught:
        resolve({}, Settings(filesystem_type_default="ramdisk"), IMAGE)
    assert str(caught.value) == (
        "setting filesystem_type_default is ramdisk, but the site has no disks in memory; set ramdisk_dir"
    )
    with pytest.raises(RequestError, match=r"^script line 3: fs_type=ramdisk is not offered"):
        resolve(gather([("script line 3", "fs_type=ramdisk")]), Settings(), IMAGE)


def test_an_image_of_the_user_is_one_like_others() -> None:
    """Where the site allows it: no warning."""
    asked = gather([(COMMAND_LINE, "img=./mine.qcow2")])
    resolved = resolve(asked, Settings(allow_user_images=True), ImageFacts("/home/alice/mine.qcow2"))
    assert (resolved.warnings, resolved.values["img"][0]) == ((), "./mine.qcow2")
