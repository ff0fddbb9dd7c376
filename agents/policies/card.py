"""What is written down about a policy beside its weights: JSON that can be checked and carries no code."""

from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveInt, model_validator

ACTION_VERSION = 1
"""Changes whenever an action comes to mean another width."""

IMPORTANCE_VERSION = 1
"""Changes whenever a feature that predicts the importance of a group does."""

LIBRARIES = ("autoprune", "torch", "numpy", "gymnasium", "stable-baselines3")

Text = Annotated[str, Field(max_length=2000)]
Share = Annotated[float, Field(ge=0, le=1)]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False)


class Source(_Strict):
    """A network that the policy was learned on.

    Attributes:
        name: Class of the network.
        fingerprint: SHA-256 of the names and shapes of its tensors, or of its groups where it is not known.
        groups: How many of its groups can be pruned.
    """

    name: Text
    fingerprint: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    groups: Annotated[PositiveInt, Field(le=100_000)]


class PolicyCard(_Strict):
    """What a policy is, where it comes from and what it is for.

    Attributes:
        created: When the policy was learned, ISO 8601 in UTC.
        observation: Name of the observation set.
        observation_version: Its version.
        features: Names of its features, in order.
        action_version: What an action means.
        importance_version: Which features predict the importance of a group.
        lower: Keep ratio of the action -1.
        upper: Keep ratio of the action 1.
        around_reference: Whether its actions are relative to the reference allocation.
        reach: How far from it an action may be, as a share of the room on either side.
        hidden: Hidden layers of actor and critic.
        budgets: What it was learned for, as written.
        shares: Smallest and largest limit among these, as shares of the dense cost, by cost.
        criterion: What ordered the units; "" where nobody said.
        reward: What was maximized; "" where nobody said.
        sources: The networks that it was learned on.
        episodes: How many candidates were evaluated.
        score: The highest reward among them; None without any.
        transitions: How many steps of real episodes it carries.
        libraries: Versions of the libraries.
    """

    created: Text = Field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    observation: Text
    observation_version: int
    features: Annotated[tuple[Text, ...], Field(min_length=1, max_length=1000)]
    action_version: int = ACTION_VERSION
    importance_version: int = IMPORTANCE_VERSION
    lower: Share
    upper: Share
    around_reference: bool
    reach: Share = 1.0
    hidden: Annotated[tuple[Annotated[PositiveInt, Field(le=4096)], ...], Field(min_length=1, max_length=8)]
    budgets: Annotated[tuple[Text, ...], Field(min_length=1, max_length=1000)]
    shares: dict[Text, tuple[Share, Share]]
    criterion: Text = ""
    reward: Text = ""
    sources: Annotated[tuple[Source, ...], Field(min_length=1, max_length=1000)]
    episodes: NonNegativeInt = 0
    score: float | None = None
    transitions: Annotated[NonNegativeInt, Field(le=1_000_000)] = 0
    libraries: dict[Text, Text] = Field(default_factory=lambda: library_versions())

    @model_validator(mode="after")
    def _fits(self) -> "PolicyCard":
        if not self.lower < self.upper:
            raise ValueError(f"lower must be below upper, got {self.lower:g} and {self.upper:g}")
        if self.around_reference and "reference" not in self.features:
            raise ValueError("features must hold 'reference' for an actor around it")
        return self

    def lines(self) -> list[str]:
        """What a person wants to know, line by line."""
        shares = ", ".join(f"{name} {100 * a:.3g} to {100 * b:.3g}%" for name, (a, b) in self.shares.items())
        networks = ", ".join(f"{s.name} ({s.groups} groups, {s.fingerprint[:12]})" for s in self.sources)
        score = "" if self.score is None else f", best reward {self.score:.4g}"
        versions = ", ".join(f"{name} {number}" for name, number in self.libraries.items())
        return [
            f"learned on: {networks}",
            f"budgets: {', '.join(self.budgets)}" + (f" ({shares} of the dense network)" if shares else ""),
            f"results: {self.episodes} episodes{score}",
            f"reward: {self.reward or 'unknown'}; criterion: {self.criterion or 'unknown'}",
            f"observation: {self.observation}, version {self.observation_version}; "
            f"keep ratios from {self.lower:g} to {self.upper:g}",
            f"networks: hidden layers {list(self.hidden)}; {self.transitions} stored steps",
            f"made: {self.created} with {versions}",
        ]


class PolicyFile(_Strict):
    """`policy.json`.

    Attributes:
        format: Says what the file is.
        version: Of the format.
        card: The card.
        sha256: Checksums of `card` and `tensors`.
    """

    format: Literal["autoprune policy"] = "autoprune policy"
    version: Literal[1] = 1
    card: PolicyCard
    sha256: dict[Literal["card", "tensors"], Text]


def library_versions() -> dict[str, str]:
    """The versions of the libraries that a policy depends on."""
    return {name: _version(name) for name in LIBRARIES}


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "unknown"
