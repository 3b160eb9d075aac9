"""Which of a user's files guests get: the trust table, which directories, and from where."""

from __future__ import annotations

import dataclasses

import pytest
from render_kit import ALICE, IMAGE

from nornir_torque_vm.config.settings import Settings
from nornir_torque_vm.errors import Blame, InventoryError, RequestError, SettingsError, TorqueVMError
from nornir_torque_vm.model import Job, Node, UserDir, UserFiles
from nornir_torque_vm.plan import make_plan, plan_from_json, plan_to_json
from nornir_torque_vm.request import Request
from nornir_torque_vm.userfiles import files_for

OWN = dataclasses.replace(IMAGE, own=True)
SOURCES = ("filer:/export/home=/home", "big:/vol/a=/home/a", "filer:/w=/project")


def site(kind: UserFiles, *work: str, sources: tuple[str, ...] = SOURCES) -> Settings:
    return Settings(user_files=kind, work_dirs=work, nfs_sources=sources)


def paths(settings: Settings, home: str = "/home/alice") -> list[str]:
    return [one.path for one in files_for(settings, dataclasses.replace(ALICE, home=home), IMAGE)[1]]


@pytest.mark.parametrize("kind", UserFiles)
def test_the_trust_table(kind: UserFiles) -> None:
    """Where the user is root only QEMU with the owner's rights may open files; everything for site images."""
    job, nodes = Job("1.h", "h", ALICE), [Node("node1")]
    planned = make_plan(Request(), site(kind), job, nodes, IMAGE)
    assert planned.user_files is kind
    assert bool(planned.user_dirs) == (kind is not UserFiles.NONE)
    if kind in {UserFiles.NONE, UserFiles.NINE_P}:
        assert make_plan(Request(), site(kind), job, nodes, OWN).user_files is kind
        return
    with pytest.raises(RequestError) as caught:
        make_plan(Request(), site(kind), job, nodes, OWN)
    assert str(caught.value) == (
        f"guests of your own image 'micro.qcow2' get no files by {kind}: you are root in them; "
        "boot an image of the site's"
    )


def test_an_image_is_the_sites_unless_it_is_said_to_be_the_users() -> None:
    """What the pool gives is not marked; a plan keeps the mark."""
    assert not IMAGE.own
    plan = make_plan(Request(), site(UserFiles.NINE_P, "/project"), Job("1.h", "h", ALICE), [Node("n")], OWN)
    assert plan_from_json(plan_to_json(plan)) == plan


def test_jobs_of_root_get_no_files() -> None:
    """9p would open the node with root's rights."""
    root = dataclasses.replace(ALICE, name="root", uid=0, home="/root")
    for kind in UserFiles:
        assert files_for(site(kind), root, OWN) == (UserFiles.NONE, ())


def test_guests_get_the_home_and_the_work_directories() -> None:
    """Each device has a name of its own."""
    kind, dirs = files_for(site(UserFiles.VIRTIOFS, "/project", "/scratch"), ALICE, IMAGE)
    assert kind is UserFiles.VIRTIOFS
    assert dirs == (
        UserDir("/home/alice", "user0"),
        UserDir("/project", "user1"),
        UserDir("/scratch", "user2"),
    )


@pytest.mark.parametrize(
    ("home", "work", "expected"),
    [
        ("/home/alice", ("/home",), ["/home"]),
        ("/home/alice/", ("/home/alice/data",), ["/home/alice"]),
        ("/home/alice", ("/home/al", "/home/alice"), ["/home/alice", "/home/al"]),
        ("/home/../data/alice", (), ["/data/alice"]),
    ],
)
def test_nothing_is_mounted_inside_a_directory_of_users(
    home: str, work: tuple[str, ...], expected: list[str]
) -> None:
    """They write there, and could have a link lead the mount elsewhere."""
    assert paths(site(UserFiles.NINE_P, *work), home) == expected


@pytest.mark.parametrize("home", ["", "/", "//", "home/alice", ".", "/home/.."])
def test_a_home_that_is_none_is_refused(home: str) -> None:
    """``/`` would give the whole node to its guests."""
    with pytest.raises(InventoryError, match="cannot be given to guests; correct the account") as caught:
        paths(site(UserFiles.VIRTIOFS), home)
    assert caught.value.blame is Blame.SITE


@pytest.mark.parametrize(
    ("home", "source"),
    [
        ("/home/alice", "filer:/export/home/alice"),
        ("/home/a/alice", "big:/vol/a/alice"),
        ("/home/ab", "filer:/export/home/ab"),
    ],
)
def test_the_longest_directory_says_where_it_comes_from(home: str, source: str) -> None:
    """Homes may be on several servers."""
    owner = dataclasses.replace(ALICE, home=home)
    assert files_for(site(UserFiles.NFS), owner, IMAGE)[1] == (UserDir(home, source),)


def test_a_directory_without_a_source_is_the_sites_to_mend() -> None:
    """Rather than a job without it."""
    with pytest.raises(TorqueVMError, match="nfs_sources does not say where '/scratch' comes from") as caught:
        files_for(site(UserFiles.NFS, "/scratch"), ALICE, IMAGE)
    assert isinstance(caught.value, SettingsError)
    with pytest.raises(SettingsError):
        files_for(site(UserFiles.NFS, sources=("f:/x=/home/alicea",)), ALICE, IMAGE)


def elsewhere(kind: UserFiles, *pairs: str, work: tuple[str, ...] = ("/project",)) -> tuple[UserDir, ...]:
    settings = Settings(
        user_files=kind, work_dirs=work, software_dirs=pairs, nfs_sources=(*SOURCES, "big:/sw=/opt")
    )
    return files_for(settings, ALICE, IMAGE)[1]


def test_software_of_the_nodes_is_at_another_path_in_guests() -> None:
    """They have an /opt of their own."""
    assert elsewhere(UserFiles.NFS, "/opt=/opt-hpc", "/opt/x=/x")[2:] == (
        UserDir("/opt", "big:/sw", "/opt-hpc"),
        UserDir("/opt/x", "big:/sw/x", "/x"),
    )
    found = elsewhere(UserFiles.NINE_P, "/opt=/opt-hpc")
    assert found[2] == UserDir("/opt", "user2", "/opt-hpc")
    assert [one.at for one in found] == ["/home/alice", "/project", "/opt-hpc"]
    assert elsewhere(UserFiles.NONE, "/opt=/opt-hpc") == ()


@pytest.mark.parametrize(
    "pairs", [["/opt=/project"], ["/opt=/project/x"], ["/opt=/home"], ["/a=/b", "/opt=/b/c"]]
)
def test_software_covers_no_other_directory_and_lies_in_none(pairs: list[str]) -> None:
    """A home would be gone, or a user could lead the mount elsewhere."""
    with pytest.raises(SettingsError, match=r"software_dirs puts '/opt' at .*, where guests have "):
        elsewhere(UserFiles.NINE_P, *pairs)


def test_there_is_an_end_to_the_devices_of_a_guest() -> None:
    """By NFS there is none."""
    work = tuple(f"/w{number}" for number in range(15))
    assert len(elsewhere(UserFiles.NINE_P, "/opt=/o", work=work)) == 17
    with pytest.raises(SettingsError, match="18 directories of their node, and 17 are the most"):
        elsewhere(UserFiles.VIRTIOFS, "/opt=/o", "/opt/x=/x", work=work)
