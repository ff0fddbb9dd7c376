"""Files that are either complete or not there: temporary neighbor, fsync, rename."""

import hashlib
import os
import re
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

StrPath = str | os.PathLike[str]

_NEIGHBOR = re.compile(r"\.(?P<name>.+)\.\d+-[0-9a-f]{8}\.(?P<kind>tmp|old)")


@contextmanager
def replaced_file(path: StrPath) -> Iterator[Path]:
    """A temporary neighbor of `path` to write to, which takes the place of `path` when the block ends well.

    Missing parent folders are made. A reader sees the old file or the new one, never a part of either; if
    the block raises, `path` is as before. The file gets the permissions that the user's umask gives.

    Raises:
        OSError: The folder cannot be written to.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = _neighbor(target, "tmp")
    try:
        yield temporary
        _sync(temporary)
        os.replace(temporary, target)
        _sync(target.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def replaced_folder(path: StrPath) -> Iterator[Path]:
    """A temporary empty neighbor folder, which takes the place of the folder `path` when the block ends well.

    Where `path` exists it is moved aside and removed only after the new folder is in place; if the block
    or a rename raises, `path` is as before. A crash between the two renames loses nothing either: the old
    folder then lies beside, as `leftovers(path)`. The caller decides whether `path` may be replaced.

    Raises:
        OSError: The parent folder cannot be written to.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary, old = _neighbor(target, "tmp"), _neighbor(target, "old")
    temporary.mkdir()
    try:
        yield temporary
        for part in (*temporary.rglob("*"), temporary):
            _sync(part)
        moved = target.exists()
        if moved:
            os.replace(target, old)
        try:
            os.replace(temporary, target)
        except BaseException:
            if moved:
                os.replace(old, target)
            raise
        _sync(target.parent)
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def leftovers(path: StrPath) -> list[Path]:
    """Earlier versions of the folder `path` that a crash during `replaced_folder` left beside it."""
    target = Path(path)
    return sorted(target.parent.glob(f".{target.name}.*.old"))


def sweep(folder: StrPath) -> None:
    """Remove what killed writers left in a folder that nobody else writes to now.

    An earlier version of a folder stays where it is the only one.

    Raises:
        OSError: The folder cannot be written to.
    """
    for path in Path(folder).iterdir():
        found = _NEIGHBOR.fullmatch(path.name)
        if found is None or (found["kind"] == "old" and not path.with_name(found["name"]).exists()):
            continue
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def write_bytes(path: StrPath, data: bytes) -> None:
    """Write `data` to `path` in one step (see `replaced_file`)."""
    with replaced_file(path) as temporary:
        temporary.write_bytes(data)


def write_text(path: StrPath, text: str) -> None:
    """Write `text` to `path` as UTF-8 in one step (see `replaced_file`)."""
    write_bytes(path, text.encode())


def write_tensors(
    path: StrPath, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None
) -> None:
    """Write tensors to `path` as safetensors in one step (see `replaced_file`).

    Args:
        path: The file.
        tensors: By name; any device, strides and aliasing. Aliases are written once per name.
        metadata: Strings that the file carries in its header.

    Raises:
        OSError: The folder cannot be written to, or the disk is full.
    """
    with replaced_file(path) as temporary:
        temporary.touch()
        mode = temporary.stat().st_mode  # safetensors makes a file that only its owner may read
        folder = _neighbor(Path(path), "tmp")
        folder.mkdir()  # safetensors writes under a name of its own, which `sweep` does not know
        try:
            whole = folder / "whole"
            save_file(_plain(tensors), whole, None if metadata is None else dict(metadata))
            os.replace(whole, temporary)
        except SafetensorError as error:
            raise _system_error(error, path) from error
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        temporary.chmod(mode)


def _system_error(error: SafetensorError, path: StrPath) -> OSError:
    """The error of the operating system that safetensors met, from its words."""
    found = re.search(r"os error (\d+)", str(error))
    if found is None:
        return OSError(f"{error} ('{path}')")
    number = int(found[1])
    return OSError(number, os.strerror(number), os.fspath(path))


def sha256(path: StrPath) -> str:
    """Hexadecimal SHA-256 of a file's content."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _plain(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Contiguous CPU tensors that each own their storage, which is what safetensors accepts."""
    result: dict[str, Tensor] = {}
    owned: set[int] = set()
    for name, tensor in tensors.items():
        plain = tensor.detach().to("cpu").contiguous()
        storage = plain.untyped_storage()
        if storage.nbytes() != plain.numel() * plain.element_size() or storage.data_ptr() in owned:
            plain = plain.clone(memory_format=torch.contiguous_format)
        owned.add(plain.untyped_storage().data_ptr())
        result[name] = plain
    return result


def _neighbor(target: Path, suffix: str) -> Path:
    """An unused hidden name in the same folder, hence on the same file system."""
    return target.with_name(f".{target.name}.{os.getpid()}-{secrets.token_hex(4)}.{suffix}")


def _sync(path: Path) -> None:
    """Flush a file or folder to the disk, so that the rename after it cannot overtake its content."""
    if path.is_dir() and os.name != "posix":
        return  # only POSIX lets a folder be opened and flushed
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
