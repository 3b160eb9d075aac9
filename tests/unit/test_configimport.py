"""The earlier system's shell configuration becomes a settings file that can be loaded, whatever it holds."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from shell_kit import noise, scripts, values

from nornir_torque_vm.config.obsolete import REASONS
from nornir_torque_vm.config.settings import SETTINGS, Settings, loads, read_values
from nornir_torque_vm.config.shellimport import Imported, Line, import_settings
from nornir_torque_vm.errors import SettingsError

OLD = r"""#!/bin/bash
set -o nounset;
LIB_LOG4BSH=$(find "$ABSOLUTE_PATH_CONFIG/../.." -type f -name log4bsh.sh);
[ -z $LIB_LOG4BSH ] && echo "FATAL ERROR" && exit 1;
source $LIB_LOG4BSH;
# hosts where VM jobs are disabled, e.g. DISABLED_HOSTS_LIST="frontend[0-9]"
DISABLED_HOSTS_LIST="";
REGEX_FE="*";
PBS_QSUB_ON_FE="/opt/torque/bin/qsub";
PBS_QSUB_ON_NODES="$TORQUE_BIN/qsub";
VM_IMG_DIR="/opt/vm-images"; # root's own
HOST_OS_RAM_MB=2048;
SW_PACKAGES_DEBIAN=('nfs-common' 'libnfs1');
FILESYSTEM_TYPE_DEFAULT=$FILESYSTEM_TYPE_RD;
RAM_DEFAULT="24576";
UNCLOT_SHMEM_DEFAULT="512M";
VCPUS_DEFAULT="7";
PARALLEL=true;
IOCM_ENABLED=false;
IOCM_NODES="*";
if [ -z ${DISABLE_MIKELANGELO_HPCSTACK-} ]; then
  DISABLE_MIKELANGELO_HPCSTACK=false;
fi
"""


def imported(text: str) -> Imported:
    """What becomes of a script; the settings file is always one that can be loaded."""
    done = import_settings(text, "config.sh")
    assert read_values(done.toml) == {line.setting: line.value for line in done.taken}
    loads(done.toml)
    return done


def line(text: str) -> Line:
    (only,) = imported(text).lines
    return only


def test_the_earlier_systems_file_is_taken_over() -> None:
    """Names by their aliases; memory without a unit was in MB; the two file system types are known."""
    done = imported(OLD)
    assert {one.setting: one.value for one in done.taken} == read_values(
        """
        disabled_hosts_list = ""
        real_qsub_on_server = "/opt/torque/bin/qsub"
        image_pool = "/opt/vm-images"
        host_os_ram_mb = 2048
        sw_packages_debian = ["nfs-common", "libnfs1"]
        filesystem_type_default = "ramdisk"
        ram_default = "24G"
        unclot_shmem_default = "512M"
        vcpus_default = 7
        parallel = true
        iocm_enabled = false
        iocm_nodes = "*"
        """
    )
    assert {(one.setting, one.why) for one in done.lost} == {
        ("real_qsub_on_nodes", "has $TORQUE_BIN, which is not set here"),
        ("disable_mikelangelo_hpc_stack", "is set only under a condition"),
    }


def test_the_file_says_where_each_line_comes_from_and_why_one_is_missing() -> None:
    """In the order of the script; a lost setting stands there with its default, commented out."""
    text = imported(
        "# x\nVM_IMG_DIR=/opt/i\nREGEX_FE='*'\n\nTIMEOUT=$(id)\n. ./more\nPARALELL=true\nX=1\n"
    ).toml
    assert text == (
        "# Settings of nornir-torque-vm, made from config.sh by 'torque-vm config import'.\n"
        "# What could not be taken over stands here as a comment that says why.\n"
        "\n"
        "# line 2: VM_IMG_DIR=/opt/i\n"
        'image_pool = "/opt/i"\n'
        "\n"
        "# line 3: REGEX_FE='*'\n"
        "# REGEX_FE became server_hostname, one host name: the host that real_qsub_on_server is for\n"
        "\n"
        "# line 5: TIMEOUT=$(id)\n"
        "# TIMEOUT has $(id), which only a running shell can tell\n"
        "#timeout = 240\n"
        "\n"
        "# line 6: . …\n"
        "# . runs code from elsewhere, which was not looked at\n"
        "\n"
        "# line 7: PARALELL=true\n"
        "# PARALELL is no setting; did you mean parallel?\n"
        "\n"
        "# line 8: X=1\n"
        "# X is no setting\n"
    )


@pytest.mark.parametrize("name", [field.name for field in SETTINGS])
def test_every_setting_can_be_imported_by_all_its_names(name: str) -> None:
    """The upper-case name of the earlier system, its later names, and ours."""
    field = SETTINGS[name]
    text = field.kind.text(field.default)
    for written in (name, name.upper(), *(alias.upper() for alias in field.aliases)):
        assert line(f"{written}='{text}'").value == field.default


@pytest.mark.parametrize(
    ("text", "setting", "value"),
    [
        ("RAM_DEFAULT=24576", "ram_default", 24 << 30),
        ("RAM_DEFAULT=1000", "ram_default", 1000 << 20),
        ("RAM_DEFAULT=2G", "ram_default", 2 << 30),
        ("HOST_OS_RAM_MB=2048", "host_os_ram_mb", 2048),
        ("ALLOW_USER_IMAGES=TRUE", "allow_user_images", True),
        ("DISTRO_DEFAULT=DEBIAN", "distro_default", "debian"),
        ("FILESYSTEM_TYPE_DEFAULT=$FILESYSTEM_TYPE_SFS", "filesystem_type_default", "sharedfs"),
        ("TIMEOUT=120.5", "timeout", 120.5),
        ("address_sources=(lease arp)", "address_sources", ("lease", "arp")),
        ("VM_IMG_DIR=/images/", "image_pool", "/images"),
    ],
)
def test_values_are_read_as_settings_are(text: str, setting: str, value: object) -> None:
    """A text, whatever it means."""
    assert (line(text).setting, line(text).value) == (setting, value)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("IOCM_ENABLED=0", "is '0' but must be true or false; 0 and 1 are refused because"),
        ("RAM_DEFAULT=0", "is '0' but must be more than 0"),
        ("HOST_OS_CORE_COUNT=-1", "is '-1' but must be a whole number"),
        ("TIMEOUT=(1 2)", "is ('1', '2') but must be a number of seconds"),
        ("IMG_DEFAULT=/a/b.img", "is '/a/b.img' but must be the name of a file"),
        ("TIMEOUT=600", "does not fit: timeout (600 s) does not fit into prologalarm (300 s)"),
        ("IOCM_MIN_CORES=9", "does not fit: iocm_min_cores (9) is more than iocm_max_cores (7)"),
    ],
)
def test_a_value_that_does_not_fit_is_told_and_left_out(text: str, why: str) -> None:
    """With the sentence that loading it would have given."""
    found = line(text)
    assert found.setting
    assert found.why.startswith(why)
    assert imported(text).lost == (found,)


def test_values_that_fit_together_only_are_taken_together() -> None:
    """In whichever order they stand, and whatever else does not fit."""
    both = "IOCM_MIN_CORES=9\nIOCM_MAX_CORES=12\n"
    assert len(imported(both).taken) == 2
    done = imported(both + "TIMEOUT=600\n")
    assert [one.name for one in done.taken] == ["IOCM_MIN_CORES", "IOCM_MAX_CORES"]
    assert [one.name for one in done.lost] == ["TIMEOUT"]


@pytest.mark.parametrize(
    "text", ["TIMEOUT=100\nTIMEOUT=200", "timeout=100\nTIMEOUT=200", "TIMEOUT=100; export TIMEOUT=200"]
)
def test_the_last_word_counts(text: str) -> None:
    """Whichever of its names a setting has there."""
    assert line(text).value == 200


def test_a_name_the_script_only_mentions_is_no_line() -> None:
    """The variable of a loop, what a command reads."""
    assert imported("for host in a b; do :; done; read answer <<< x").lines == ()


def test_names_without_a_counterpart_are_explained() -> None:
    """None of them is a setting after all, and each sentence goes on after the name."""
    known = {name for field in SETTINGS for name in (field.name, *field.aliases)}
    assert {name for name in REASONS if name.lower() in known} == set()
    assert {
        reason for reason in REASONS.values() if not re.match(r"(has no counterpart: |became |was )", reason)
    } == set()


def test_a_script_that_cannot_be_read_is_an_error_with_its_line() -> None:
    """Nothing is made of half a file."""
    with pytest.raises(SettingsError) as caught:
        import_settings("TIMEOUT=5\nX='\n", "/etc/old.sh")
    assert str(caught.value) == "/etc/old.sh: line 2: what begins with ' never ends"


def test_bytes_that_are_no_text_are_left_out() -> None:
    """Settings are UTF-8; what an old comment is in does not matter."""
    done = imported("# \udcfc\nDISABLED_HOSTS_LIST='f\udcfc'\nX='\udcfc'")
    assert done.lines[0].why == "is not UTF-8 text"
    assert done.toml.encode()


names = st.sampled_from([field.name.upper() for field in SETTINGS] + ["REGEX_FE", "TMOUT", "VM_IMG_DIR"])
_text = st.text(st.characters(), max_size=8)
assignments = st.builds("{}={}".format, names, values | st.integers(-1, 1000).map(str) | _text)


@given(text=st.lists(assignments | scripts | noise, max_size=8).map("\n".join))
def test_any_script_gives_a_file_that_loads(text: str) -> None:
    """Or one sentence; control characters, other planes and lone surrogates included."""
    try:
        done = import_settings(text, "config.sh")
    except SettingsError:
        return
    assert isinstance(loads(done.toml.encode().decode()), Settings)
    assert read_values(done.toml) == {one.setting: one.value for one in done.taken}
