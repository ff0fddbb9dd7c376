"""A small disk of its own that a test fills up or makes read-only."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

PAGE = 4096


def run(*words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(word) for word in words], capture_output=True, text=True, check=False)


class Disk:
    """A mounted file system in memory.

    Args:
        path: Where it is mounted.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._filler = path / "filler"

    def fill(self, slack: int = 0) -> None:
        """Write until nothing fits any more, then give back `slack` pages."""
        with open(self._filler, "wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(PAGE))
            except OSError:
                pass
            os.ftruncate(file.fileno(), max(0, file.tell() - slack * PAGE))

    def make_room(self) -> None:
        """Take `fill` back."""
        self._filler.unlink()

    def forbid(self) -> None:
        """Make it read-only; that a lock is held on it would keep the disk itself from being remounted."""
        for words in (("--bind", self.path, self.path), ("-o", "remount,bind,ro", self.path)):
            done = run("mount", *words)
            assert done.returncode == 0, done.stderr

    def allow(self) -> None:
        """Take `forbid` back."""
        done = run("umount", self.path)
        assert done.returncode == 0, done.stderr


@contextmanager
def mounted(path: Path, megabytes: int) -> Iterator[Disk]:
    """A disk of that size; the test is skipped where this user may not mount one."""
    path.mkdir()
    done = run("mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", path)
    if done.returncode != 0:
        pytest.skip(f"needs to mount a tmpfs (root, CAP_SYS_ADMIN): {done.stderr.strip()}")
    try:
        yield Disk(path)
    finally:
        while run("mountpoint", "-q", path).returncode == 0:
            assert run("umount", "-l", path).returncode == 0
