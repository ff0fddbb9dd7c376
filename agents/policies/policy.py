"""What a search has learned, apart from the network that it was learned on."""

from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3.td3.policies import TD3Policy
from torch import Tensor, nn

from autoprune.agents.policies.card import PolicyCard
from autoprune.agents.policies.files import read_folder, write_folder
from autoprune.agents.policies.importance import FEATURES, weighted
from autoprune.agents.policies.networks import load_weights, make_networks, weights_of
from autoprune.agents.policies.similarity import (
    COMPARED,
    Likeness,
    group_features,
    likeness,
    source_of,
)
from autoprune.allocation.improve import refill
from autoprune.allocation.moves import Moves
from autoprune.budget.cost import Vector
from autoprune.envs.observation import Observation, State, make_observation
from autoprune.errors import ArgumentError
from autoprune.files import StrPath
from autoprune.task import Task

if TYPE_CHECKING:
    from autoprune.budget import Budget
    from autoprune.plan import Plan

GROUPS, IMPORTANCE = "groups", "importance"


class Replay(NamedTuple):
    """Steps of real episodes, to learn from again.

    Attributes:
        observations: Shape (m, features), float32.
        actions: Executed actions, shape (m,), float32.
        returns: What the critic learned them to be worth, shape (m,), float32.
    """

    observations: NDArray[np.float32]
    actions: NDArray[np.float32]
    returns: NDArray[np.float32]


class Policy:
    """What `search` or `learn_policy` learned: an actor and a critic over features that any network has.

        policy = autoprune.search(...).policy
        policy.save("policies/r20")
        plan = autoprune.Policy.load("policies/r20").plan(other, inputs, data, "macs=50%")

    A policy is not changed after its construction; what it hands out are copies.

    Args:
        networks: Actor and critic; copied.
        observation: The observation set, not bound to a task.
        card: What is written down about it.
        groups: Features of all groups that it was learned on, shape (m, len(COMPARED)).
        importance: Coefficients that predict how much the curve of a group weighs, shape
            (len(importance.FEATURES),); actor and critic know the curves with these weights.
        replay: Steps of real episodes, or None.
    """

    def __init__(
        self,
        networks: TD3Policy,
        observation: Observation,
        card: PolicyCard,
        groups: NDArray[np.float32],
        importance: NDArray[np.float32],
        replay: Replay | None = None,
    ) -> None:
        self._networks = deepcopy(networks)
        self._networks.set_training_mode(False)
        self.observation = observation
        self.card = card.model_copy(update={"transitions": 0 if replay is None else len(replay.actions)})
        self.groups, self.importance, self.replay = groups, importance, replay

    def __repr__(self) -> str:
        return "Policy:\n  " + "\n  ".join(self.card.lines())

    @property
    def tensors(self) -> dict[str, Tensor]:
        """A copy of the weights of actor and critic, by name."""
        return weights_of(self._networks)

    def save(self, path: StrPath) -> None:
        """Write the policy to a folder: `policy.safetensors` and `policy.json`, without pickle.

        The folder appears complete or not at all. One that holds a policy is replaced; anything else,
        a damaged policy too, is refused.

        Raises:
            ArgumentError: `path` exists and is no policy.
            OSError: The folder cannot be written to.
        """
        stored = self.tensors | {
            GROUPS: torch.from_numpy(self.groups),
            IMPORTANCE: torch.from_numpy(self.importance),
        }
        if self.replay is not None:
            stored |= {f"replay.{k}": torch.from_numpy(v) for k, v in self.replay._asdict().items()}
        write_folder(Path(path), self.card, stored)

    @classmethod
    def load(cls, path: StrPath, *, observation: Observation | None = None) -> Self:
        """Read a policy that `save` wrote. Loading the policy of a stranger runs no code of theirs.

        Args:
            path: The folder.
            observation: The observation set, where the policy was learned with one of your own.

        Raises:
            ArgumentError: A file is missing, damaged, or of another version of the format, of the actions
                or of the observation set; the message names it, and nothing is overwritten.
        """
        return cls.from_parts(*read_folder(Path(path)), str(path), observation)

    @classmethod
    def from_parts(
        cls, card: PolicyCard, tensors: Mapping[str, Tensor], name: str, own: Observation | None = None
    ) -> Self:
        """Put a policy together from what its files hold.

        Raises:
            ArgumentError: Another version of the observation set, or tensors that do not fit the card.
        """
        observation = _observation(card, name, own)
        networks = make_networks(card)
        wanted = {k: t.shape for k, t in weights_of(networks).items()}
        _check_tensors(wanted | _further(card), tensors, name)
        load_weights(networks, tensors)
        parts = {key: tensors[f"replay.{key}"].numpy() for key in Replay._fields if card.transitions}
        replay = Replay(**parts) if parts else None
        groups, importance = tensors[GROUPS].numpy(), tensors[IMPORTANCE].numpy()
        return cls(networks, observation, card, groups, importance, replay)

    def described(self, **changes: Any) -> "Policy":
        """The same policy with other entries on its card, such as `criterion` or `score`.

        Raises:
            pydantic.ValidationError: An entry that is no entry of `PolicyCard`.
        """
        card = PolicyCard.model_validate(dict(self.card) | changes)
        return self._copy(card, self.replay)

    def with_replay(self, replay: Replay | None) -> "Policy":
        """The same policy with other steps to learn from again."""
        return self._copy(self.card, replay)

    def _copy(self, card: PolicyCard, replay: Replay | None) -> "Policy":
        return type(self)(self._networks, self.observation, card, self.groups, self.importance, replay)

    def weighted(self, task: Task) -> Task:
        """The task as actor and critic know it: every curve times its predicted importance."""
        return weighted(task, self.importance)

    def knows(self, task: Task) -> bool:
        """Whether what the actor adds to the reference is meant for this network.

        It is where the network is one of those that the policy was learned on (by structure), where several
        networks showed what moves from one to another, and where the actor knows no reference.
        """
        if self.importance.any() or not self.card.around_reference:
            return True
        return source_of(task).fingerprint in {source.fingerprint for source in self.card.sources}

    def decide(self, task: Task) -> Vector:
        """One roll-out without noise and without evaluation: widths of shape (n,) that meet the budget.

        For a network that it does not know (`knows`) it follows the reference.
        """
        known = self.knows(task)
        task = self.weighted(task)
        bound = self.observation.bind(task)
        actor = self._networks.actor
        reference = None if known else bound.names.index("reference")
        vector, executed = task.max_widths.copy()[None], np.ones(1, np.float32)
        for at in range(len(task.names)):
            seen = torch.from_numpy(bound(State(at, vector, executed)))
            with torch.no_grad():
                action = float(actor(seen)[0, 0] if reference is None else seen[0, reference])
            ratio = task.lower + (np.clip(action, -1, 1) + 1) / 2 * (task.upper - task.lower)
            width = min(int(task.width_at(at, np.array([ratio]))[0]), task.wall(at, vector[0]))
            vector[0, at] = width
            taken = 2 * (width / task.sizes[at] - task.lower) / (task.upper - task.lower) - 1
            executed = np.array([np.clip(taken, -1, 1)], np.float32)
        result: Vector = vector[0]
        return result

    def allocate(self, task: Task) -> Vector:
        """`decide`, then what rounding left of the budget is spent where it lowers the curve errors most.

        Widths are rounded down, and an actor that knows another network asks for a little more or less than
        it needs; the candidate of the same actions is worth more with the whole budget.

        Returns:
            Widths of shape (n,) that meet the budget.
        """
        known = self.weighted(task)
        result: Vector = refill(Moves(known, np.ones(len(known.names))), self.decide(task))
        return result

    def likeness(self, task: Task) -> Likeness:
        """How much alike the groups of a task and those are that the policy was learned on."""
        return likeness(task.names, group_features(task.graph), self.groups)

    def plan(
        self,
        model: nn.Module,
        example_inputs: Any,
        calibration: Any,
        budget: "str | Budget",
        **settings: Any,
    ) -> "Plan":
        """Decide the widths of another network at once, without a search.

            plan = policy.plan(model, inputs, data, "macs=50%")
            small = autoprune.apply(model, plan)

        One deterministic roll-out; no candidate is evaluated. The network may have another depth and other
        widths than those that the policy was learned on, and the budget may be another.

        Args:
            model: Trained network; untouched.
            example_inputs: A tensor, a tuple of arguments or a dict of keyword arguments.
            calibration: What `autoprune.calibrate` gave for this network, or data: an object with the
                loader `train`, or batches that can be read again and again.
            budget: Upper bounds that the plan keeps.
            **settings: See `autoprune.agents.policies.zero_shot.plan`: `criterion`, `include`, `exclude`,
                `round_to`, `floor_units`, `seed`, `calibration_images`.

        Returns:
            The plan; its `info` says how similar the network is to those that the policy knows.

        Raises:
            ArgumentError: An argument out of range.
            BudgetError: The budget does not parse or cannot be met.
            DataError: The data is empty or malformed.
            ModelError: Nothing to prune.
            TraceError: `torch.export` refuses the model.
        """
        from autoprune.agents.policies.zero_shot import plan

        return plan(self, model, example_inputs, calibration, budget, **settings)

    def check_fits(self, task: Task, observation: Observation) -> None:
        """Refuse to go on learning where an action or a feature would mean something else.

        Raises:
            ArgumentError: Other bounds of the keep ratio, or another observation set.
        """
        mine, theirs = (self.card.lower, self.card.upper), (task.lower, task.upper)
        if mine != theirs:
            raise ArgumentError(
                f"lower and upper must be those of the given policy, {mine[0]:g} and {mine[1]:g}, "
                f"got {theirs[0]:g} and {theirs[1]:g}: its actions would mean other widths"
            )
        _check_set(self.card, observation, "the given policy")


def _observation(card: PolicyCard, name: str, own: Observation | None) -> Observation:
    if own is None:
        try:
            own = make_observation(card.observation)
        except ArgumentError as error:
            raise ArgumentError(
                f"the policy '{name}' was learned with the observation set '{card.observation}', which "
                "autoprune does not have; pass it as observation"
            ) from error
    _check_set(card, own, f"the policy '{name}'")
    return own


def _check_set(card: PolicyCard, found: Observation, name: str) -> None:
    if (card.observation, card.observation_version) != (found.name, found.version):
        raise ArgumentError(
            f"{name} must go with the observation set '{found.name}' version {found.version}, but was "
            f"learned with '{card.observation}' version {card.observation_version}: its features "
            "mean something else"
        )


def _further(card: PolicyCard) -> dict[str, tuple[int, ...]]:
    """Shapes of the tensors beside the weights."""
    rows = sum(source.groups for source in card.sources)
    shapes: dict[str, tuple[int, ...]] = {GROUPS: (rows, len(COMPARED)), IMPORTANCE: (len(FEATURES),)}
    if card.transitions:
        shapes["replay.observations"] = (card.transitions, len(card.features))
        shapes |= dict.fromkeys(("replay.actions", "replay.returns"), (card.transitions,))
    return shapes


def _check_tensors(wanted: Mapping[str, tuple[int, ...]], tensors: Mapping[str, Tensor], name: str) -> None:
    for key in sorted(wanted.keys() | tensors.keys()):
        if key not in wanted or key not in tensors:
            state = "lacks" if key in wanted else "must not hold"
            raise ArgumentError(f"the policy '{name}' {state} the tensor '{key}'; it does not fit its card")
        tensor = tensors[key]
        if tuple(tensor.shape) != tuple(wanted[key]) or tensor.dtype != torch.float32:
            raise ArgumentError(
                f"the tensor '{key}' of the policy '{name}' must be float32 of shape {tuple(wanted[key])}, "
                f"got {tensor.dtype} of shape {tuple(tensor.shape)}"
            )
        if not bool(torch.isfinite(tensor).all()):
            raise ArgumentError(f"the tensor '{key}' of the policy '{name}' must be finite")
