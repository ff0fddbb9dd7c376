import json
from pathlib import Path

import pytest

from autoprune.errors import RunError
from autoprune.run.stored import read_stored, write_stored, written_to

BODY = {"a": [1, 2.5, 0.1 + 0.2, None, "ü"], "nested": {"b": True}, "big": 2**100}


def test_round_trip(tmp_path: Path) -> None:
    write_stored(tmp_path / "x.json", BODY)
    assert read_stored(tmp_path / "x.json") == BODY
    assert [p.name for p in tmp_path.iterdir()] == ["x.json"]


@pytest.mark.parametrize("position", [0.05, 0.3, 0.5, 0.7, 0.95])
def test_every_flipped_bit_is_seen(tmp_path: Path, position: float) -> None:
    path = tmp_path / "x.json"
    write_stored(path, {"numbers": list(range(50)), "text": "abc" * 20})
    data = bytearray(path.read_bytes())
    spot = next(i for i in range(int(position * len(data)), len(data)) if chr(data[i]).isalnum())
    data[spot] ^= 0x01
    path.write_bytes(data)
    with pytest.raises(RunError, match=r"x\.json' is damaged"):
        read_stored(path)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b'{"body": 1, "sha256": 2}', b"\xff\xfe"])
def test_other_content_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(content)
    with pytest.raises(RunError, match=r"x\.json"):
        read_stored(path)
    assert path.read_bytes() == content


def test_truncation_at_every_length(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    write_stored(path, {"a": [1, 2]})
    whole = path.read_bytes()
    for length in range(len(whole.rstrip())):
        path.write_bytes(whole[:length])
        with pytest.raises(RunError):
            read_stored(path)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="cannot read"):
        read_stored(tmp_path / "none.json")


def test_what_is_not_json_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    write_stored(path, {"a": 1})
    with pytest.raises(TypeError):
        write_stored(path, {"a": object()})
    assert read_stored(path) == {"a": 1}
    assert json.loads(path.read_text())["body"] == {"a": 1}


def test_a_failed_write_says_where_and_what_to_do() -> None:
    message = r"cannot write to '/there': No space left on device; make room"
    with pytest.raises(RunError, match=message), written_to(Path("/there"), "make room"):
        raise OSError(28, "No space left on device")
