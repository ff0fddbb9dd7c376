"""Policies as files: what is written is read again, and nothing in a file can run."""

import hashlib
import json
import pickle
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import autoprune
from autoprune.agents import Policy
from autoprune.agents.policies.card import PolicyCard
from autoprune.agents.policies.files import CARD, TENSORS
from autoprune.envs import DefaultObservation
from autoprune.errors import ArgumentError
from tests.agents.problem import make_task
from tests.policies.made import agent, policy, with_replay


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    policy().save(tmp_path / "policy")
    return tmp_path / "policy"


@pytest.mark.parametrize("make", [policy, with_replay, lambda: policy(variant="amc", around_reference=False)])
def test_what_is_saved_is_loaded(make: Any, tmp_path: Path) -> None:
    saved = make()
    saved.save(tmp_path / "deep" / "policy")
    loaded = autoprune.agents.Policy.load(tmp_path / "deep" / "policy")  # type: ignore[attr-defined]
    assert loaded.card == saved.card
    assert loaded.tensors.keys() == saved.tensors.keys()
    assert all(torch.equal(loaded.tensors[name], tensor) for name, tensor in saved.tensors.items())
    assert np.array_equal(loaded.groups, saved.groups)
    assert (loaded.replay is None) == (saved.replay is None)
    for mine, theirs in zip(loaded.replay or (), saved.replay or (), strict=True):
        assert np.array_equal(mine, theirs)
    task = make_task(4, seed=3, budget="macs=35%")
    assert np.array_equal(loaded.decide(task), saved.decide(task))


def test_the_card_says_what_the_issue_asks_for(folder: Path) -> None:
    card = Policy.load(folder).card
    assert (card.observation, card.observation_version) == ("default", DefaultObservation.version)
    assert (card.lower, card.upper, card.criterion, card.reward) == (0.1, 1.0, "obs", "kl")
    assert card.budgets == ("macs=50%",)
    assert card.shares["macs"] == (pytest.approx(0.5, abs=1e-4),) * 2
    assert [source.groups for source in card.sources] == [6]
    assert card.episodes == 3 and card.score is not None and card.score < 0
    assert card.libraries["torch"] == torch.__version__.split("+")[0] or card.libraries["torch"]
    assert any("learned on" in line for line in card.lines())


def test_only_two_files_without_pickle(folder: Path) -> None:
    assert {path.name for path in folder.iterdir()} == {CARD, TENSORS}
    json.loads((folder / CARD).read_text())
    load_file(folder / TENSORS)


class Evil:
    """Writes a file when it is unpickled."""

    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self) -> Any:
        return Path.touch, (self.proof,)


def evil_zip(path: Path, proof: Path) -> None:
    """As stable-baselines3 lays out a saved agent."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("data", json.dumps({"policy_class": {":type:": "type", ":serialized:": ""}}))
        for name in ("policy.pth", "actor.optimizer.pth", "pytorch_variables.pth"):
            archive.writestr(name, pickle.dumps(Evil(proof)))


def test_the_malicious_archive_is_one(tmp_path: Path) -> None:
    """A negative control: unpickled, it does write its file."""
    proof = tmp_path / "proof"
    evil_zip(tmp_path / "evil.zip", proof)
    with zipfile.ZipFile(tmp_path / "evil.zip") as archive:
        pickle.loads(archive.read("policy.pth"))
    assert proof.exists()


def test_a_malicious_archive_is_refused_and_not_run(folder: Path, tmp_path: Path) -> None:
    proof = tmp_path / "proof"
    evil_zip(tmp_path / "evil.zip", proof)
    with pytest.raises(ArgumentError, match="never opened: they can run code"):
        Policy.load(tmp_path / "evil.zip")
    content = (tmp_path / "evil.zip").read_bytes()
    for name in (TENSORS, CARD):
        before = (folder / name).read_bytes()
        (folder / name).write_bytes(content)
        with pytest.raises(ArgumentError, match=name):
            Policy.load(folder)
        (folder / name).write_bytes(before)
    (folder / TENSORS).write_bytes(content)
    outer = json.loads((folder / CARD).read_text())
    outer["sha256"]["tensors"] = hashlib.sha256(content).hexdigest()
    (folder / CARD).write_text(json.dumps(outer))
    with pytest.raises(ArgumentError, match=f"{TENSORS}' is damaged"):
        Policy.load(folder)
    assert not proof.exists()


@pytest.mark.parametrize("name", [CARD, TENSORS])
@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "missing"])
def test_a_damaged_file_is_named_and_kept(name: str, damage: str, folder: Path) -> None:
    path = folder / name
    content = path.read_bytes()
    if damage == "missing":
        path.unlink()
    else:
        middle = len(content) // 2
        flipped = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
        path.write_bytes({"cut": content[:-20], "flipped": flipped, "empty": b""}[damage])
    left = {p.name: p.read_bytes() for p in folder.iterdir()}
    with pytest.raises(ArgumentError, match=name):
        Policy.load(folder)
    with pytest.raises(ArgumentError, match="must be new or a folder of a policy"):
        policy().save(folder)
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == left


def rewrite(folder: Path, **changes: Any) -> None:
    """Change the card and put its checksum right, as somebody with bad intentions would."""
    outer = json.loads((folder / CARD).read_text())
    outer["card"] |= changes
    body = json.dumps(outer["card"], sort_keys=True, separators=(",", ":"))
    outer["sha256"]["card"] = hashlib.sha256(body.encode()).hexdigest()
    (folder / CARD).write_text(json.dumps(outer))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"observation_version": 9}, "version 1, but was learned with 'default' version 9"),
        ({"observation": "mine"}, "which autoprune does not have; pass it as observation"),
        ({"action_version": 2}, "must have actions of version 1, got 2"),
        ({"hidden": [16, 17]}, "must be float32 of shape"),
        ({"hidden": [10**9]}, "damaged at card.hidden"),
        ({"hidden": []}, "damaged at card.hidden"),
        ({"features": ["reference"]}, "must be float32 of shape"),
        ({"around_reference": False, "lower": 1.0}, "lower must be below upper"),
        ({"transitions": 5}, "lacks the tensor 'replay.actions'"),
        ({"sources": []}, "damaged at card.sources"),
        ({"weights": "x"}, "damaged at card.weights"),
        ({"score": "high"}, "damaged at card.score"),
    ],
)
def test_a_card_that_does_not_fit_is_refused(changes: dict[str, Any], message: str, folder: Path) -> None:
    rewrite(folder, **changes)
    with pytest.raises(ArgumentError, match=message):
        Policy.load(folder)


def test_a_card_of_another_format_is_refused(folder: Path) -> None:
    outer = json.loads((folder / CARD).read_text())
    (folder / CARD).write_text(json.dumps(outer | {"version": 2}))
    with pytest.raises(ArgumentError, match="has version 2, this autoprune reads version 1"):
        Policy.load(folder)
    (folder / CARD).write_text("[]")
    with pytest.raises(ArgumentError, match="not the card of a policy"):
        Policy.load(folder)


def test_weights_that_are_not_finite_are_refused(folder: Path) -> None:
    tensors = load_file(folder / TENSORS)
    name = next(iter(tensors))
    save_file(tensors | {name: tensors[name] * float("nan")}, folder / TENSORS)
    outer = json.loads((folder / CARD).read_text())
    outer["sha256"]["tensors"] = hashlib.sha256((folder / TENSORS).read_bytes()).hexdigest()
    (folder / CARD).write_text(json.dumps(outer))
    with pytest.raises(ArgumentError, match="must be finite"):
        Policy.load(folder)


def test_a_policy_may_replace_a_policy_and_nothing_else(folder: Path, tmp_path: Path) -> None:
    other = policy(episodes=2)
    other.save(folder)
    assert Policy.load(folder).card == other.card
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("dear diary")
    with pytest.raises(ArgumentError, match="must be new or a folder of a policy"):
        other.save(tmp_path / "mine")
    assert (tmp_path / "mine" / "notes.txt").read_text() == "dear diary"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine", "policy"]


class Own(DefaultObservation):
    name = "own"
    version = 3


def test_an_observation_set_of_ones_own(tmp_path: Path) -> None:
    from autoprune.agents import DDPGAgent
    from tests.agents.problem import make_env
    from tests.policies.made import SMALL

    made = DDPGAgent(make_env(observation=Own()), **SMALL)
    made.run_episode()
    made.policy.save(tmp_path / "policy")
    with pytest.raises(ArgumentError, match="'own', which autoprune does not have"):
        Policy.load(tmp_path / "policy")
    with pytest.raises(ArgumentError, match="must go with the observation set 'default' version 1"):
        Policy.load(tmp_path / "policy", observation=DefaultObservation())
    assert Policy.load(tmp_path / "policy", observation=Own()).card.observation == "own"


def test_a_card_holds_nothing_it_does_not_know() -> None:
    with pytest.raises(ValueError, match="Extra inputs"):
        policy().described(colour="red")
    assert PolicyCard.model_validate(dict(policy().card)).action_version == 1


def test_loading_does_not_touch_global_random_states(folder: Path) -> None:
    before = torch.random.get_rng_state()
    Policy.load(folder)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_a_policy_cannot_be_changed_from_outside() -> None:
    made = policy()
    for tensor in made.tensors.values():
        tensor.zero_()
    assert any(bool(tensor.any()) for tensor in made.tensors.values())


def test_another_process_reads_the_same_decision(folder: Path, root: Path) -> None:
    code = (
        "from autoprune.agents import Policy; from tests.agents.problem import make_task; "
        f"print(Policy.load({str(folder)!r}).decide(make_task(3)).tolist())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root, check=True)
    assert json.loads(done.stdout) == Policy.load(folder).decide(make_task(3)).tolist()


def test_stored_steps_are_those_of_the_real_episodes() -> None:
    made = agent(episodes=3)
    n = len(made.task.names)
    assert made.replay is not None
    observations, actions, returns = made.replay
    assert observations.shape == (3 * n, len(made.env.observation.names))
    assert actions.shape == returns.shape == (3 * n,)
    assert np.abs(returns.reshape(3, n).mean(0)).max() < 1e-5, "returns are relative to their step's mean"
    assert agent(variant="amc").replay is None
