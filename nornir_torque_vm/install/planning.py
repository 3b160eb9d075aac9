"""What has to be done on a host: what a role wants against what is there and what is ours. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Self

from nornir_torque_vm.errors import InstallError
from nornir_torque_vm.install.manifest import EditEntry, Entry, Manifest, digest
from nornir_torque_vm.install.model import Action, Directory, Edit, File, Found, Tree, Verb, Wanted


@dataclasses.dataclass(frozen=True, slots=True)
class Plan:
    """Actions in the order of execution, and what is ours before and after them.

    ``contents`` is what the files that were looked at hold after them.
    """

    actions: tuple[Action, ...]
    before: Manifest
    after: Manifest
    contents: Mapping[str, bytes] = dataclasses.field(default_factory=dict)

    @property
    def idle(self) -> bool:
        """Whether there is nothing to do; there may be something to say."""
        return self.before == self.after and all(action.verb is Verb.KEEP for action in self.actions)


def plan_install(wanted: Wanted, tree: Tree, manifest: Manifest) -> Plan:
    """Return what puts a role in place: files, the edits that make them count, what is compiled.

    What an earlier run of the role left and this one does not want (another torque home, an older
    version's file) goes. The same run again has nothing to do.

    :raises InstallError: files of somebody else are in the way.
    """
    _check_ours(wanted, tree, manifest)
    planner = _Planner(wanted.role, tree, manifest)
    for file in wanted.files:
        planner.place(file)
    for edit in wanted.edits:
        planner.edit(edit)
    planner.compile(wanted)
    planner.make_directories(wanted.directories)
    paths = {file.path for file in wanted.files} | set(wanted.compiled)
    kept = {directory.path for directory in wanted.directories}
    return planner.drop(without=paths, unedited=wanted.edited, kept=kept).plan()


def plan_removal(role: str, tree: Tree, manifest: Manifest) -> Plan:
    """Return what takes a role away: its edits first, so that nothing uses what goes after them."""
    return _Planner(role, tree, manifest).drop(without=(), unedited=()).plan()


def _check_ours(wanted: Wanted, tree: Tree, manifest: Manifest) -> None:
    alien = [
        file.path
        for file in wanted.files
        if not file.sample
        and file.path not in manifest.files
        and (found := tree.files.get(file.path)) is not None
        and not _right(file, found)
    ]
    if alien:
        raise InstallError(
            f"{', '.join(alien)} {'is' if len(alien) == 1 else 'are'} there and not from this command",
            hint="move it away" if len(alien) == 1 else "move them away",
        )


def _right(file: File, found: Found) -> bool:
    return (found.content, found.mode) == (file.content, file.mode)


class _Planner:
    """The host as it will be after the actions so far, and what will be ours then."""

    def __init__(self, role: str, tree: Tree, manifest: Manifest) -> None:
        self.role, self.tree, self.manifest = role, tree, manifest
        self.contents = {path: found.content for path, found in tree.files.items()}
        self.files, self.edits = dict(manifest.files), list(manifest.edits)
        self.directories, self.kept = list(manifest.directories), dict(manifest.kept)
        self.actions: list[Action] = []

    def plan(self) -> Plan:
        after = Manifest(self.files, tuple(self.edits), tuple(self.directories), self.kept)
        return Plan(tuple(self.actions), self.manifest, after, self.contents)

    def place(self, file: File) -> None:
        """See that a file of ours is there and right, unless somebody edited it."""
        found, entry = self.tree.files.get(file.path), self.files.get(file.path)
        if found is None:
            self._write(Verb.CREATE, file)
        elif entry is None:  # a site's own, which is as good
            return
        elif file.sample or _right(file, found):
            self._own(file.path, entry.digests)
        elif digest(found.content) in entry.digests:
            self._write(Verb.UPDATE, file)
        else:
            reason = "edited since it was installed; remove it to get the new one"
            self.actions.append(Action(Verb.KEEP, file.path, detail=reason))

    def _write(self, verb: Verb, file: File) -> None:
        self.actions.append(Action(verb, file.path, file.content, file.mode))
        self.contents[file.path] = file.content
        self._own(file.path, (digest(file.content),))

    def _own(self, path: str, digests: tuple[str, ...]) -> None:
        entry = self.files.get(path)
        roles = dict.fromkeys((*(entry.roles if entry else ()), self.role))
        self.files[path] = Entry(digests, tuple(roles))

    def compile(self, wanted: Wanted) -> None:
        """Have the settings compiled where that is missing or stale; what was there is not ours."""
        missing = [path for path in wanted.compiled if path not in self.contents]
        for path in wanted.compiled:
            if path in missing or path in self.files:
                self._own(path, ())
                self.contents.setdefault(path, b"")
        if missing or wanted.stale:
            self.actions.append(Action(Verb.COMPILE, str(PurePosixPath(wanted.compiled[0]).parent)))

    def make_directories(self, wanted: Sequence[Directory]) -> None:
        """Put the directories that the files so far need before them, and those that are wanted anyway."""
        modes = {directory.path: directory.mode for directory in wanted}
        missing: dict[str, None] = {}
        for path in (*self.contents, *(f"{directory}/_" for directory in modes)):
            above = [str(parent) for parent in PurePosixPath(path).parents]
            missing.update((name, None) for name in reversed(above) if name not in self.tree.directories)
        self.actions[:0] = [Action(Verb.MAKE, path, mode=modes.get(path, 0o755)) for path in missing]
        self.directories += [path for path in missing if path not in self.directories]
        for path in modes:
            self.kept[path] = tuple(dict.fromkeys((*self.kept.get(path, ()), self.role)))

    def edit(self, edit: Edit) -> None:
        """Change a file of somebody else; one that is missing is made.

        An earlier change that somebody took out again is forgotten.
        """
        there = self.contents.get(edit.path)
        self.edits = [
            e for e in self.edits if e.edit.path != edit.path or e.edit.undone(there or b"") is not None
        ]
        content = edit.applied(there or b"")
        made = 0o600 if edit.private else 0o644
        mode, line = made if there is None else None, edit.new.decode(errors="backslashreplace").strip()
        self.actions.append(Action(Verb.EDIT, edit.path, content, mode, line))
        self.contents[edit.path] = content
        self.edits.append(EditEntry(edit, self.role, made=there is None))

    def drop(
        self, *, without: Collection[str], unedited: Collection[str], kept: Collection[str] = ()
    ) -> Self:
        """Take away what is the role's alone.

        Except files ``without``, edits of ``unedited``, and directories ``kept``.
        """
        for change in [e for e in reversed(self.edits) if e.role == self.role]:
            if change.edit.path not in unedited:
                self.edits.remove(change)
                self._undo(change)
        for path, entry in list(self.files.items()):
            if self.role in entry.roles and path not in without:
                left = tuple(role for role in entry.roles if role != self.role)
                if left:
                    self.files[path] = dataclasses.replace(entry, roles=left)
                else:
                    del self.files[path]
                    self._remove(path, entry)
        for path, roles in list(self.kept.items()):
            left = tuple(role for role in roles if role != self.role or path in kept)
            if left:
                self.kept[path] = left
            else:
                del self.kept[path]
        self._drop_directories()
        return self

    def _undo(self, change: EditEntry) -> None:
        path, content = change.edit.path, self.contents.get(change.edit.path)
        if content is None:
            return
        restored = change.edit.undone(content)
        if restored is None:
            self.actions.append(
                Action(Verb.KEEP, path, detail="edited since: our line is not in it any more")
            )
        elif change.made and not restored:
            self._forget(path)
        else:
            self.actions.append(Action(Verb.RESTORE, path, restored))
            self.contents[path] = restored

    def _remove(self, path: str, entry: Entry) -> None:
        content = self.contents.get(path)
        if content is None:
            return
        if entry.digests and digest(content) not in entry.digests:
            self.actions.append(Action(Verb.KEEP, path, detail="edited since it was installed"))
        else:
            self._forget(path)

    def _forget(self, path: str) -> None:
        self.actions.append(Action(Verb.REMOVE, path))
        del self.contents[path]

    def _drop_directories(self) -> None:
        """Remove our directories when nothing is in them; one with somebody else's files is theirs now."""
        gone = self.tree.files.keys() - self.contents.keys()
        edited = (change.edit.path for change in self.edits)
        ours = [*self.files, *edited, *(f"{path}/" for path in self.kept)]
        for path in list(reversed(self.directories)):
            below = f"{path}/"
            if any(file.startswith(below) for file in ours):
                continue
            self.directories.remove(path)
            names = self.tree.directories.get(path)
            left = {below + name for name in names or ()} - gone
            if names is not None and not left and not any(file.startswith(below) for file in self.contents):
                self.actions.append(Action(Verb.REMOVE, path))
                gone |= {path}
