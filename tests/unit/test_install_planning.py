"""Plans of several roles on one host: what they share goes with the last of them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nornir_torque_vm.errors import InstallError
from nornir_torque_vm.install.manifest import Manifest, read_manifest
from nornir_torque_vm.install.model import Directory, Edit, File, Found, Tree, Verb, Wanted
from nornir_torque_vm.install.planning import Plan, plan_install, plan_removal

SAMPLE = File("/etc/x/settings", b"sample", sample=True)
LINE = Edit("/spool/config", 0, b"", b"$job_starter /x\n")
EMPTY = Tree({}, {"/": frozenset()})


def carried_out(plan: Plan, tree: Tree) -> Tree:
    """What is there after a plan."""
    files, directories = dict(tree.files), {path: set(names) for path, names in tree.directories.items()}
    for action in plan.actions:
        if action.verb is Verb.REMOVE:
            files.pop(action.path, None)
            directories.pop(action.path, None)
        elif action.verb is Verb.MAKE:
            directories[action.path] = set()
        elif action.content is not None:
            there = files.get(action.path)
            assert action.mode is not None or there is not None
            files[action.path] = Found(action.content, there.mode if there else action.mode or 0)
    for path in directories:
        below = path.rstrip("/") + "/"
        names = (name.removeprefix(below).split("/")[0] for name in (*files, *directories) if name != path)
        directories[path] = {name for name in names if below + name in files or below + name in directories}
    return Tree(files, {path: frozenset(names) for path, names in directories.items()})


def node(*files: File) -> Wanted:
    return Wanted("node", (*files, SAMPLE), (LINE,), frozenset({LINE.path}))


def server(*files: File) -> Wanted:
    return Wanted("server", (*files, SAMPLE))


def test_a_file_of_two_roles_goes_with_the_last() -> None:
    """And stays as the first one left it."""
    both = File("/opt/bin/tool", b"tool", 0o755)
    first = plan_install(node(both), EMPTY, Manifest())
    tree = carried_out(first, EMPTY)
    second = plan_install(server(both, File("/opt/lib/own", b"")), tree, first.after)
    assert [action.path for action in second.actions] == ["/opt/lib", "/opt/lib/own"]
    tree = carried_out(second, tree)
    third = plan_removal("node", tree, second.after)
    assert [action.path for action in third.actions] == ["/spool/config", "/spool"]
    tree = carried_out(third, tree)
    last = plan_removal("server", tree, third.after)
    assert last.after.empty
    assert carried_out(last, tree) == EMPTY


def test_the_edit_of_one_role_is_not_undone_with_another() -> None:
    """Each takes away what it put in."""
    first = plan_install(node(), EMPTY, Manifest())
    tree = carried_out(first, EMPTY)
    second = plan_install(server(), tree, first.after)
    tree = carried_out(second, tree)
    third = plan_removal("server", tree, second.after)
    assert third.actions == ()
    assert [entry.role for entry in third.after.edits] == ["node"]


def test_all_files_in_the_way_are_named_at_once() -> None:
    """So that nobody has to try again and again."""
    tree = Tree({"/a": Found(b"1"), "/b": Found(b"x", 0o600), "/c": Found(b"x")}, EMPTY.directories)
    wanted = Wanted("node", tuple(File(path, b"x") for path in ("/a", "/b", "/c", "/d")))
    with pytest.raises(InstallError, match=r"^/a, /b are there and not from this command; move them away$"):
        plan_install(wanted, tree, Manifest())


NAMES = st.sampled_from(["/a", "/d/b", "/d/e/c", "/f/g"])
FILES = st.dictionaries(NAMES, st.binary(max_size=2), max_size=4)


@given(FILES, FILES, FILES)
def test_installing_twice_and_taking_away_is_as_if_nothing_had_been(
    theirs: dict[str, bytes], first: dict[str, bytes], second: dict[str, bytes]
) -> None:
    """Whatever was there, and whatever the second version brings."""
    start = carried_out(Plan((), Manifest(), Manifest()), _tree(theirs))
    tree, manifest = start, Manifest()
    for version in (first, second, second):
        wanted = Wanted("node", tuple(File(path, content) for path, content in version.items()))
        try:
            plan = plan_install(wanted, tree, manifest)
        except InstallError:
            assert any(path in theirs for path in version)
            continue
        tree, manifest = carried_out(plan, tree), plan.after
        assert {path: tree.files[path].content for path in version} == version
        assert read_manifest(manifest.to_json(), "") == manifest
        assert plan_install(wanted, tree, manifest).idle
    plan = plan_removal("node", tree, manifest)
    assert plan.after.empty
    assert carried_out(plan, tree) == start


def _tree(files: dict[str, bytes]) -> Tree:
    parents = {"/"} | {path.rsplit("/", n)[0] for path in files for n in (1, 2)} - {""}
    return Tree({path: Found(text) for path, text in files.items()}, {path: frozenset() for path in parents})


FOLDERS = st.lists(st.sampled_from(["/d", "/d/e", "/run/x", "/run/x/y", "/f/z/h"]), max_size=3, unique=True)


@given(FILES, FILES, FOLDERS, FOLDERS)
def test_directories_that_are_wanted_come_and_go_too(
    theirs: dict[str, bytes], ours: dict[str, bytes], first: list[str], second: list[str]
) -> None:
    """Whatever was there, with and without files of ours in them; another role's run leaves them alone."""
    start = carried_out(Plan((), Manifest(), Manifest()), _tree(theirs))
    tree, manifest = start, Manifest()
    for folders in (first, second, second):
        files = tuple(File(path, content) for path, content in ours.items() if path not in theirs)
        wanted = Wanted("node", files, directories=tuple(map(Directory, sorted(folders))))
        plan = plan_install(wanted, tree, manifest)
        tree, manifest = carried_out(plan, tree), plan.after
        assert set(folders) <= set(tree.directories)
        assert read_manifest(manifest.to_json(), "") == manifest
        assert plan_install(wanted, tree, manifest).idle
    other = plan_install(server(), tree, manifest)
    tree = carried_out(other, tree)
    assert set(second) <= set(tree.directories)
    away = plan_removal("server", tree, other.after)
    tree, manifest = carried_out(away, tree), away.after
    plan = plan_removal("node", tree, manifest)
    assert plan.after.empty
    assert carried_out(plan, tree) == start
