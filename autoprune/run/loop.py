"""Episode after episode, until there are enough or someone asks to stop."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from autoprune.run.callbacks import Callback
from autoprune.run.recorder import Recorder
from autoprune.run.signals import StopRequest
from autoprune.timings import Timings

if TYPE_CHECKING:
    from autoprune.agents import Agent


def run_episodes(
    agent: "Agent",
    total: int,
    recorder: Recorder,
    callbacks: Iterable[Callback],
    stop: StopRequest,
    timings: Timings,
) -> None:
    """Run episodes until the history holds `total`, the agent is finished, or a stop is requested.

    A stop drops the running episode. What agent and storage take is counted in `timings`.

    Raises:
        RunError: An episode cannot be stored.
    """
    best = recorder.best
    while len(recorder.history) < total and not agent.finished:
        with timings("agent"):
            episode = stop.attempt(agent.run_episode)
        if episode is None:
            return
        with timings("storage"):
            recorder.add(episode, agent)
        best = episode if best is None or recorder.worth(episode) > recorder.worth(best) else best
        for callback in callbacks:
            stop.attempt(lambda c=callback, e=episode, b=best: c.on_episode(e, b))  # type: ignore[misc]
