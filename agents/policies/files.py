"""Policies as two files: `policy.safetensors`, then `policy.json`. Nothing in them can run code."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from autoprune.agents.policies.card import ACTION_VERSION, IMPORTANCE_VERSION, PolicyCard, PolicyFile
from autoprune.errors import ArgumentError
from autoprune.files import leftovers, replaced_folder, sha256, write_tensors, write_text

CARD, TENSORS = "policy.json", "policy.safetensors"
LIMITS = {CARD: 4_000_000, TENSORS: 1_000_000_000}
"""Bytes that are read of a file at most."""


def write_folder(path: Path, card: PolicyCard, tensors: Mapping[str, Tensor]) -> None:
    """Write a policy's folder; it appears complete or not at all. One that holds a policy is replaced.

    Raises:
        ArgumentError: `path` exists and is something else.
        OSError: It cannot be written.
    """
    if path.exists() and not _may_be_replaced(path):
        raise ArgumentError(f"path must be new or a folder of a policy, got '{path}'; choose another")
    with replaced_folder(path) as temporary:
        write_tensors(temporary / TENSORS, tensors)
        sums = {"card": _digest(card), "tensors": sha256(temporary / TENSORS)}
        body = PolicyFile.model_validate({"card": card, "sha256": sums})
        write_text(temporary / CARD, body.model_dump_json(indent=1) + "\n")


def read_card(path: Path) -> tuple[PolicyCard, str]:
    """The card of a policy's folder, and the checksum of its tensors.

    Raises:
        ArgumentError: No policy there, or the file is damaged or of another version; it is named.
    """
    if path.is_file():
        raise ArgumentError(
            f"a policy must be a folder with {CARD} and {TENSORS}, got the file '{path}'; archives, of "
            "stable-baselines3 for example, are never opened: they can run code"
        )
    return parse_card(_read(path / CARD), str(path / CARD))


def read_folder(path: Path) -> tuple[PolicyCard, dict[str, Tensor]]:
    """Card and tensors of a policy's folder.

    Raises:
        ArgumentError: As `read_card`, or the tensors are damaged; the file is named.
    """
    card, checksum = read_card(path)
    return card, parse_tensors(_read(path / TENSORS), checksum, str(path / TENSORS))


def parse_card(content: bytes, name: str) -> tuple[PolicyCard, str]:
    """Check the content of `policy.json`.

    Args:
        content: Of the file.
        name: What to call the file in an error.

    Raises:
        ArgumentError: It is damaged or of another version.
    """
    try:
        outer = json.loads(content)
    except ValueError as error:
        raise ArgumentError(f"'{name}' is truncated or damaged: {error}; restore it from a copy") from error
    _check_versions(outer, name)
    try:
        file = PolicyFile.model_validate_json(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the whole"
        raise ArgumentError(f"'{name}' is damaged at {where}: {first['msg']}") from error
    if file.sha256.get("card") != _digest(file.card) or "tensors" not in file.sha256:
        raise ArgumentError(f"'{name}' is damaged or was edited: its checksum does not match")
    return file.card, file.sha256["tensors"]


def parse_tensors(content: bytes, checksum: str, name: str) -> dict[str, Tensor]:
    """Check and read the content of `policy.safetensors`.

    Raises:
        ArgumentError: It is damaged.
    """
    if hashlib.sha256(content).hexdigest() != checksum:
        raise ArgumentError(f"'{name}' is damaged: its checksum does not match; restore it from a copy")
    try:
        return load(content)
    except SafetensorError as error:
        raise ArgumentError(f"'{name}' is damaged: {error}; restore it from a copy") from error


def _check_versions(outer: object, name: str) -> None:
    """Refuse other versions before their fields are looked at."""
    if not isinstance(outer, dict) or outer.get("format") != "autoprune policy":
        raise ArgumentError(f"'{name}' is not the card of a policy that autoprune saved")
    if outer.get("version") != 1:
        raise ArgumentError(f"'{name}' has version {outer.get('version')!r}, this autoprune reads version 1")
    card = outer.get("card")
    for key, what, known in (
        ("action_version", "actions", ACTION_VERSION),
        ("importance_version", "features of importance", IMPORTANCE_VERSION),
    ):
        found = card.get(key) if isinstance(card, dict) else None
        if found != known:
            raise ArgumentError(
                f"the policy '{name}' must have {what} of version {known}, got {found!r}: they mean "
                "something else here; learn it again"
            )


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(LIMITS[path.name] + 1)
    except OSError as error:
        old = leftovers(path.parent)
        hint = f"; an interrupted save left '{old[-1]}'" if old and not path.parent.exists() else ""
        raise ArgumentError(f"'{path}' cannot be read: {error.strerror}{hint}") from error
    if len(content) > LIMITS[path.name]:
        raise ArgumentError(f"'{path}' must have at most {LIMITS[path.name]:,} bytes; it is no policy's file")
    return content


def _digest(card: PolicyCard) -> str:
    body = json.dumps(card.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(body.encode()).hexdigest()


def _may_be_replaced(path: Path) -> bool:
    """An empty folder, or one with a whole policy and nothing else: what is damaged is never overwritten."""
    if not path.is_dir() or path.is_symlink():
        return False
    found = {entry.name for entry in path.iterdir()}
    if found != {CARD, TENSORS}:
        return not found
    try:
        read_folder(path)
    except ArgumentError:
        return False
    return True
