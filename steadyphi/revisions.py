"""The commits and DVC experiments of a project that have results, and their files."""

import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from steadyphi.errors import SteadyPhiError


@dataclass(frozen=True)
class Revision:
    """A commit with results. name: that of the DVC experiment, None for a commit of a branch. time: in ms."""

    commit: str
    name: str | None
    time: int

    @property
    def label(self) -> str:
        """The name, or the first digits of the commit."""
        return self.name or self.commit[:7]


def revisions() -> Iterator[Revision]:
    """Yield the experiments, and the commits that changed results, each kind with the newest first.

    They are those of the git repository of the current folder. Raises SteadyPhiError if there is none.
    """
    names = _git("for-each-ref", "--sort=-creatordate", "--format=%(refname) %(objectname)", "refs/exps")
    for line in names.splitlines():
        ref, commit = line.split()
        parts = ref.split("/")  # refs/exps/ab/cdef.../name; DVC's own references are shorter
        if len(parts) == 5 and len(parts[2] + parts[3]) == 40:
            yield Revision(commit, parts[4], _time(commit))
    for commit in _git("rev-list", "HEAD", "--", "metrics/summary.json", "dvc.lock").split():
        yield Revision(commit, None, _time(commit))


def copy_files(commit: str, target: Path, needed: Sequence[str], optional: Sequence[str]) -> None:
    """Copy files and folders of a commit into `target`, out of git, DVC's cache or its remote.

    needed, optional: paths in the project, which is the current folder. Raises SteadyPhiError if one that is
    needed cannot be copied.
    """
    from dvc.api import DVCFileSystem

    files = DVCFileSystem(str(Path.cwd()), rev=commit)
    for name in (*needed, *optional):
        place = target / name
        place.parent.mkdir(parents=True, exist_ok=True)
        try:
            files.get(name, str(place), recursive=files.isdir(name))
        except Exception as error:  # of DVC, of its remote or of fsspec
            if name in needed:
                raise SteadyPhiError(f"{name}: neither git nor DVC's cache or remote has it") from error


def _time(commit: str) -> int:
    return 1000 * int(_git("show", "-s", "--format=%ct", commit))


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SteadyPhiError(f"git {arguments[0]}: {done.stderr.strip()}; run it in the project")
    return done.stdout
