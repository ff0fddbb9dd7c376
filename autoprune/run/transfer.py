"""Policies around a search: the one that it begins with, and the one that it leaves behind."""

import hashlib
import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autoprune.data import tensor_bytes
from autoprune.errors import ArgumentError, RunError
from autoprune.files import StrPath

if TYPE_CHECKING:
    from autoprune.agents import Agent, Policy
    from autoprune.run.config import Settings

logger = logging.getLogger(__name__)

INIT_NAME, POLICY_NAME = "init_policy", "policy"
"""Folders of a run: the policy that it began with, and the one that it ended with."""

LESSONS_NAME = "lessons.json"
"""What says that a folder is the run of `learn_policy`."""


def taken(init_policy: "Policy | StrPath | None", agent: Any) -> "Policy | None":
    """The policy that a search is given: itself, from its folder, or from the folder of the run that made it.

    Raises:
        ArgumentError: Neither; a damaged file; or an agent that cannot begin with a policy.
    """
    from autoprune.agents import Policy

    if init_policy is None:
        return None
    if isinstance(agent, str) and agent != "ddpg":
        raise ArgumentError(f"init_policy goes with agent='ddpg' alone, got agent='{agent}'")
    if isinstance(init_policy, Policy):
        return init_policy
    if isinstance(init_policy, str | Path):
        return Policy.load(policy_folder(Path(init_policy)))
    raise ArgumentError(
        f"init_policy must be an autoprune.Policy or the folder of one, got {type(init_policy).__name__}"
    )


def policy_folder(path: Path) -> Path:
    """`path` itself, or the policy in it if it is the folder of a run.

    Raises:
        ArgumentError: A run that left no policy behind.
    """
    if not any((path / name).is_file() for name in ("config.json", LESSONS_NAME)):
        return path
    if not (path / POLICY_NAME).is_dir():
        raise ArgumentError(f"the run '{path}' holds no policy: it is not finished, or its agent has none")
    return path / POLICY_NAME


def digest_of_policy(policy: "Policy") -> str:
    """SHA-256 over all that a policy holds."""
    digest = hashlib.sha256(policy.card.model_dump_json().encode())
    for name, tensor in policy.tensors.items():
        digest.update(name.encode() + tensor_bytes(tensor))
    for array in (policy.groups, *(policy.replay or ())):
        digest.update(array.tobytes())
    return digest.hexdigest()


def recorded(path: Path, settings: "Settings") -> "Policy | None":
    """The policy that a run began with, from its own copy.

    Raises:
        RunError: The copy is missing, damaged, or another one.
    """
    from autoprune.agents import Policy

    if settings.init_policy is None:
        return None
    folder = path / INIT_NAME
    if not folder.exists():
        raise RunError(
            f"'{folder}' is missing: the search was stopped before it had copied the policy that it was to "
            "begin with; start it anew in another run_dir"
        )
    try:
        policy = Policy.load(folder)
    except ArgumentError as error:
        raise RunError(str(error)) from error
    if digest_of_policy(policy) != settings.init_policy:
        raise RunError(f"'{folder}' is not the policy that the run was started with; restore it from a copy")
    return policy


def learned(agent: "Agent", settings: "Settings") -> Any:
    """The agent's policy, if it has one, with what the search knows of it."""
    from autoprune.agents import Policy

    policy = getattr(agent, "policy", None)
    if isinstance(policy, Policy):
        return policy.described(criterion=settings.criterion, reward=settings.reward)
    return policy


def save_policy(policy: Any, agent: "Agent", path: Path) -> None:
    """Write a policy into the folder of its run, with the steps of its episodes.

    An earlier one that is damaged is kept beside as `policy.damaged-{time}`.

    Raises:
        OSError: It cannot be written.
    """
    from autoprune.agents import Policy

    if not isinstance(policy, Policy):
        return
    folder = path / POLICY_NAME
    if folder.exists():
        try:
            Policy.load(folder)
        except ArgumentError as error:
            aside = folder.with_name(f"{POLICY_NAME}.damaged-{int(time.time())}")
            folder.rename(aside)
            logger.warning("%s; moved to '%s', writing a new one", error, aside)
    policy.with_replay(getattr(agent, "replay", None)).save(folder)
