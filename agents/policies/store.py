"""Policies by name in a folder, or behind any URL that fsspec knows."""

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import fsspec
from fsspec.implementations.local import LocalFileSystem

from autoprune.agents.policies.card import PolicyCard
from autoprune.agents.policies.files import CARD, LIMITS, TENSORS, parse_card, parse_tensors
from autoprune.agents.policies.policy import Policy
from autoprune.agents.policies.similarity import Likeness, group_features, likeness
from autoprune.errors import ArgumentError
from autoprune.files import StrPath
from autoprune.graph import PruneGraph

logger = logging.getLogger(__name__)

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


class Ranked(NamedTuple):
    """A stored policy and how much alike a network is to those that it was learned on."""

    name: str
    likeness: Likeness
    card: PolicyCard


class PolicyStore:
    """Policies by name: `NAME/policy.json` and `NAME/policy.safetensors` below a folder or a URL.

        store = PolicyStore("s3://bucket/policies")
        store.add(result.policy, "r20")
        policy = store.load(store.best_for(autoprune.trace(model, inputs))[0].name)

    A store may belong to a stranger: names are checked before they become paths, files are read up to a limit
    and checked as `Policy.load` does, and nothing is unpickled. What is damaged is left out of rankings, with
    a note in the log. Credentials are fsspec's own affair (environment or configuration).

    Args:
        url: A folder, or a URL such as `memory://policies`, `s3://bucket/policies`, `https://...`.

    Raises:
        ArgumentError: A URL that fsspec cannot open here.
    """

    def __init__(self, url: StrPath) -> None:
        self.url = str(url)
        try:
            self._files, root = fsspec.core.url_to_fs(self.url)
        except (ValueError, ImportError) as error:
            raise ArgumentError(f"the store '{self.url}' cannot be opened: {error}") from error
        self._root = str(root).rstrip("/")

    def names(self) -> tuple[str, ...]:
        """The names of all policies, in alphabetic order; entries with other names are left out.

        Raises:
            ArgumentError: The store cannot be read.
        """
        with _reading(self.url):
            if not self._files.exists(self._root):
                return ()
            entries = [str(entry).rstrip("/") for entry in self._files.ls(self._root, detail=False)]
            names = [PurePosixPath(entry).name for entry in entries]
            return tuple(sorted(name for name in names if _NAME.fullmatch(name) and self._has(name)))

    def card(self, name: str) -> PolicyCard:
        """The card of a policy.

        Raises:
            ArgumentError: A name that is none, no such policy, or its file is damaged.
        """
        return parse_card(self._read(name, CARD), self._path(name, CARD))[0]

    def load(self, name: str) -> Policy:
        """Read a policy.

        Raises:
            ArgumentError: As `card` and `Policy.load`.
        """
        card, checksum = parse_card(self._read(name, CARD), self._path(name, CARD))
        path = self._path(name, TENSORS)
        return Policy.from_parts(card, parse_tensors(self._read(name, TENSORS), checksum, path), name)

    def get(self, name: str, folder: StrPath) -> Path:
        """Read and check a policy and write it to a folder of one's own.

        Args:
            name: Of the policy.
            folder: The new folder itself; the name from the store becomes no part of a path.

        Raises:
            ArgumentError: As `load`, or `folder` is in use.
        """
        policy = self.load(name)
        policy.save(folder)
        return Path(folder)

    def add(self, policy: Policy, name: str) -> None:
        """Write a policy under a new name; the card last, so that a policy is there whole or not at all.

        Raises:
            ArgumentError: A name that is none or is taken, or the store cannot be written to.
        """
        if self._has(checked(name)):
            raise ArgumentError(f"name must be new to the store '{self.url}', got '{name}'")
        with _reading(self.url):
            if isinstance(self._files, LocalFileSystem):
                policy.save(self._folder(name))
                return
            from tempfile import TemporaryDirectory

            with TemporaryDirectory() as temporary:
                policy.save(Path(temporary) / "policy")
                self._files.makedirs(self._folder(name), exist_ok=True)
                for file in (TENSORS, CARD):
                    self._files.pipe_file(
                        self._path(name, file), (Path(temporary) / "policy" / file).read_bytes()
                    )

    def best_for(self, graph: PruneGraph) -> tuple[Ranked, ...]:
        """All policies, the most alike first; without data and without a forward pass.

        Args:
            graph: What `autoprune.trace` gave for the new network.

        Raises:
            ArgumentError: The store cannot be read.
        """
        new = group_features(graph)
        names = [group.name for group in graph.prunable]
        found = []
        for name in self.names():
            try:
                policy = self.load(name)
            except ArgumentError as error:
                logger.warning("left out of the ranking: %s", error)
                continue
            found.append(Ranked(name, likeness(names, new, policy.groups), policy.card))
        return tuple(sorted(found, key=lambda r: (r.likeness.distance, r.name)))

    def _has(self, name: str) -> bool:
        return bool(self._files.exists(self._path(name, CARD)))

    def _folder(self, name: str) -> str:
        return f"{self._root}/{checked(name)}"

    def _path(self, name: str, file: str) -> str:
        return f"{self._folder(name)}/{file}"

    def _read(self, name: str, file: str) -> bytes:
        path, limit = self._path(name, file), LIMITS[file]
        with _reading(self.url):
            try:
                with self._files.open(path, "rb") as stream:
                    content: bytes = stream.read(limit + 1)
            except FileNotFoundError as error:
                raise ArgumentError(f"the store '{self.url}' has no whole policy '{name}'") from error
        if len(content) > limit:
            raise ArgumentError(f"'{path}' must have at most {limit:,} bytes; it is no policy's file")
        return content


def checked(name: str) -> str:
    """A name that cannot lead out of a folder.

    Raises:
        ArgumentError: Anything but letters, digits, dots, dashes and underscores; at most 100 of them.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ArgumentError(
            "name must be at most 100 letters, digits, '.', '_' or '-' and begin with a letter or digit, "
            f"got {name!r}"
        )
    return name


@contextmanager
def _reading(url: str) -> Iterator[None]:
    """Turn what any file system may raise into one error."""
    try:
        yield
    except ArgumentError:
        raise
    except Exception as error:  # a file system may raise anything
        raise ArgumentError(f"the store '{url}' cannot be used: {type(error).__name__}: {error}") from error
