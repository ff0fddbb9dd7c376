import hashlib
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from autoprune import files
from tests.killed import killed_while


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


WRITERS: dict[str, Callable[[Path], None]] = {
    "bytes": lambda path: files.write_bytes(path, b"new"),
    "text": lambda path: files.write_text(path, "n\u00e9w\n"),
    "tensors": lambda path: files.write_tensors(path, {"a": torch.ones(2)}, {"made": "by a test"}),
}


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS.keys())
def test_a_file_is_replaced_whole_and_nothing_is_left_beside(
    tmp_path: Path, write: Callable[[Path], None]
) -> None:
    path = tmp_path / "made" / "on the way" / "file"
    write(path)
    content = path.read_bytes()
    path.write_bytes(b"old and rather longer than what comes")
    write(path)
    assert path.read_bytes() == content
    assert names(path.parent) == {"file"}


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS.keys())
def test_a_failed_write_leaves_the_old_file(
    tmp_path: Path, write: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def refuse(source: object, target: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(files.os, "replace", refuse)
    with pytest.raises(OSError, match="disk full"):
        write(path)
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == {"file"}


@pytest.mark.parametrize("kind", ["bytes", "tensors"])
def test_a_killed_writer_leaves_only_what_is_swept(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    if kind == "bytes":
        killed_while(lambda: files.write_bytes(path, bytes(100_000)))
    else:
        killed_while(lambda: files.write_tensors(path, {"a": torch.ones(100_000)}))
    assert len(names(tmp_path)) > 1 and path.read_bytes() == b"old"
    files.sweep(tmp_path)
    assert names(tmp_path) == {"file"}


def test_permissions_are_those_of_any_other_new_file(tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("x")
    files.write_text(tmp_path / "ours", "x")
    files.write_tensors(tmp_path / "tensors", {"a": torch.ones(1)})
    modes = {stat.S_IMODE(os.stat(tmp_path / name).st_mode) for name in ("plain", "ours")}
    assert len(modes) == 1


def test_tensors_of_any_layout_come_back(tmp_path: Path) -> None:
    base = torch.arange(24.0).reshape(4, 6)
    tensors = {
        "base": base,
        "alias": base,
        "view": base[1:3],
        "transposed": base.T,
        "expanded": torch.ones(1, 3).expand(5, 3),
        "last": torch.randn(2, 3, 4, 4).contiguous(memory_format=torch.channels_last),
        "parameter": torch.nn.Parameter(torch.randn(3, dtype=torch.bfloat16)),
        "scalar": torch.tensor(3),
        "empty": torch.empty(0, 4),
        "bits": torch.tensor([True, False]),
    }
    files.write_tensors(tmp_path / "t", tensors)
    loaded = load_file(tmp_path / "t")
    assert loaded.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert loaded[name].dtype == tensor.dtype and torch.equal(loaded[name], tensor), name


def test_a_folder_is_replaced_whole(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "folder"
    for version in ("first", "second"):
        with files.replaced_folder(target) as temporary:
            (temporary / version).write_text(version)
            (temporary / "inner").mkdir()
            assert not (target / version).exists()
        assert names(target) == {version, "inner"}
    assert names(tmp_path / "deep") == {"folder"} and files.leftovers(target) == []


def test_a_folder_survives_an_error_while_it_is_written(tmp_path: Path) -> None:
    target = tmp_path / "folder"
    target.mkdir()
    (target / "old").touch()
    with pytest.raises(RuntimeError, match="stop"), files.replaced_folder(target) as temporary:
        (temporary / "new").touch()
        raise RuntimeError("stop")
    assert names(target) == {"old"} and names(tmp_path) == {"folder"}


def test_a_folder_survives_an_error_between_the_renames(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "folder"
    target.mkdir()
    (target / "old").touch()
    real, calls = os.replace, []

    def second_fails(source: Path, goal: Path) -> None:
        calls.append(goal)
        if len(calls) == 2:
            raise OSError("disk full")
        real(source, goal)

    monkeypatch.setattr(files.os, "replace", second_fails)
    with pytest.raises(OSError, match="disk full"), files.replaced_folder(target) as temporary:
        (temporary / "new").touch()
    assert len(calls) == 3 and names(target) == {"old"} and names(tmp_path) == {"folder"}


def test_checksum(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"abc" * 100_000)
    assert files.sha256(tmp_path / "x") == hashlib.sha256(b"abc" * 100_000).hexdigest()
