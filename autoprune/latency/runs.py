"""What runs a layer at each of its points."""

from collections.abc import Callable, Sequence

from autoprune.latency.backends import named_inputs, onnx_session, prepare
from autoprune.latency.clock import Run
from autoprune.latency.module import network_of
from autoprune.latency.onnx_family import OnnxFamily
from autoprune.latency.stored import Wanted
from autoprune.latency.target import Target


def runs_of(wanted: Wanted, target: Target) -> Callable[[Sequence[int]], Run]:
    """A call that makes a layer ready for given values of its variables.

    For ONNX Runtime the layer is exported once and once per variable, and all other points follow from these
    where the exports differ in sizes only.
    """
    template = wanted.template

    def single(at: Sequence[int]) -> Run:
        module, inputs = network_of(template.at(at), target.device)
        return prepare(target.backend, module, inputs, target.threads)

    if target.backend != "onnxruntime" or len(wanted.points) <= template.variables + 1:
        return single
    family = OnnxFamily(template, [max(at[j] for at in wanted.points) for j in range(template.variables)])
    if not family.uniform:
        return single

    def resized(at: Sequence[int]) -> Run:
        session = onnx_session(family.at(at), target.threads)
        feed = named_inputs(session, network_of(template.at(at))[1], {})

        def run() -> None:
            session.run(None, feed)

        return run

    return resized
