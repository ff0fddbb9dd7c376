import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from autoprune.errors import RunError
from autoprune.run.config import DataRecord, ModelRecord, RunConfig, Settings, StudyRecord
from autoprune.run.directory import RunDirectory, created, opened
from autoprune.run.stored import read_stored, write_stored

SETTINGS: dict[str, Any] = {
    "budget": "macs=50%", "agent": "random", "episodes": 3, "criterion": "l2", "reward": "kl", "seed": 0,
    "device": None, "round_to": 1, "lower": 0.1, "search_images": 8, "calibration_images": 8, "fit_images": 8,
    "baselines": (),
}  # fmt: skip


def config() -> RunConfig:
    return RunConfig(
        settings=Settings(**SETTINGS),
        groups={"a": 4},
        model=ModelRecord(source=None, shapes={"a": (4, 1)}, sha256="0", inputs_sha256="3"),
        data=DataRecord(source="m:f", calibration_sha256="1", search_sha256="2"),
        study=StudyRecord(storage=None, name="autoprune", complete=True),
    )


def test_config_round_trip(tmp_path: Path) -> None:
    with created(tmp_path / "run") as directory:
        directory.write_config(written := config())
    with opened(tmp_path / "run") as directory:
        assert directory.read_config() == written


def test_a_used_directory_names_resume(tmp_path: Path) -> None:
    with created(tmp_path) as directory:
        directory.write_config(config())
    with (
        pytest.raises(RunError, match=r"already holds a run; continue it with autoprune\.resume"),
        created(tmp_path),
    ):
        pass


def test_foreign_files_are_not_touched(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(RunError, match=r"must be new or empty, it holds 'thesis\.tex'"), created(tmp_path):
        pass
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_file_as_run_dir(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="must be a folder"), created(tmp_path / "file"):
        pass


def test_unwritable(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match=r"cannot (be written|write) to"), created(tmp_path / "file" / "run"):
        pass
    with pytest.raises(RunError, match=r"cannot (be written|write) to"), created("/proc/autoprune"):
        pass


def test_a_failed_start_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), created(tmp_path / "run"):
        raise ZeroDivisionError
    assert not (tmp_path / "run").exists()
    with pytest.raises(ZeroDivisionError), created(tmp_path):
        raise ZeroDivisionError
    assert tmp_path.exists() and not list(tmp_path.iterdir())


def test_nothing_to_open(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="holds no run"), opened(tmp_path):
        pass


def test_config_of_another_version(tmp_path: Path) -> None:
    with created(tmp_path) as directory:
        directory.write_config(config())
    body = read_stored(tmp_path / "config.json")
    write_stored(tmp_path / "config.json", body | {"version": 2})
    with opened(tmp_path) as directory, pytest.raises(RunError, match=r"config\.json.*version"):
        directory.read_config()


def test_an_edited_config_is_kept_aside_and_its_copy_is_used(tmp_path: Path) -> None:
    with created(tmp_path) as directory:
        directory.write_config(config())
    path = tmp_path / "config.json"
    whole, edited = path.read_text(), path.read_text().replace("macs=50%", "macs=60%")
    path.write_text(edited)
    assert RunDirectory(tmp_path).read_config().settings.budget == "macs=50%"
    assert path.read_text() == edited, "only who holds the lock mends"
    with opened(tmp_path) as directory:
        assert directory.read_config().settings.budget == "macs=50%"
    assert path.read_text() == whole
    assert [aside.read_text() for aside in tmp_path.glob("config.json.damaged-*")] == [edited]


def test_a_config_that_is_damaged_twice_is_refused_and_kept(tmp_path: Path) -> None:
    with created(tmp_path) as directory:
        directory.write_config(config())
    for path in (tmp_path / "config.json", tmp_path / "spare" / "config.json"):
        path.write_text(path.read_text().replace("macs=50%", "macs=60%"))
    before = {path: path.read_text() for path in tmp_path.rglob("*.json")}
    with (
        opened(tmp_path) as directory,
        pytest.raises(RunError, match=r"config\.json' is damaged or was edited"),
    ):
        directory.read_config()
    assert {path: path.read_text() for path in tmp_path.rglob("*.json*")} == before


def test_a_damaged_copy_is_written_anew(tmp_path: Path) -> None:
    with created(tmp_path) as directory:
        directory.write_config(config())
    (tmp_path / "spare" / "config.json").write_text("{")
    with opened(tmp_path):
        pass
    assert (tmp_path / "spare" / "config.json").read_text() == (tmp_path / "config.json").read_text()


def test_second_user_is_refused_in_one_process(tmp_path: Path) -> None:
    with created(tmp_path) as directory:
        directory.write_config(config())
        with pytest.raises(RunError, match="in use by another search"), opened(tmp_path):
            pass
    with opened(tmp_path):
        pass


def test_lock_of_another_process_ends_with_it(tmp_path: Path) -> None:
    with created(tmp_path) as directory:
        directory.write_config(config())
    script = (
        "import sys, time\n"
        "from autoprune.run.directory import opened\n"
        f"with opened({str(tmp_path)!r}):\n"
        "    print('locked', flush=True); time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None and other.stdout.readline() == "locked\n"
        with pytest.raises(RunError, match="in use by another search"), opened(tmp_path):
            pass
        other.kill()
        other.wait()
        with opened(tmp_path):
            pass


def test_what_a_search_killed_at_its_start_left_does_not_count_as_used(tmp_path: Path) -> None:
    (tmp_path / ".example_inputs.safetensors.29370-9f9a03f6.tmp").write_bytes(b"half")
    (tmp_path / ".config.json.29370-00aa11bb.tmp").write_bytes(b"half")
    (tmp_path / "optuna.journal").write_bytes(b"")
    (tmp_path / "optuna.journal.lock").symlink_to(tmp_path / "optuna.journal")
    with created(tmp_path) as directory:
        assert directory.path == tmp_path
    (tmp_path / ".notes.txt.1-2.tmp").write_bytes(b"of someone else")
    with pytest.raises(RunError, match="must be new or empty"), created(tmp_path):
        pass
