"""A pipeline at work: its network, its data, its state, and what is saved of them."""

import copy
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from autoprune.calibration import Calibration, calibrate
from autoprune.criteria import Criterion
from autoprune.criteria.scoring import unit_scores, weight_scores
from autoprune.data import FirstImages, Splits
from autoprune.errors import ArgumentError, DataError
from autoprune.files import StrPath
from autoprune.graph import PruneGraph, trace
from autoprune.graph.export import device_of, unwrap
from autoprune.measures import measure
from autoprune.pipelines.folder import Folder, opened_folder
from autoprune.pipelines.options import Options
from autoprune.pipelines.progress import Listener, Progress, Stage
from autoprune.pipelines.result import PipelineResult
from autoprune.pipelines.state import State, snapshot, write
from autoprune.plan import make_plan
from autoprune.run.checks import check_data, check_model, digest_of, tensors_of
from autoprune.surgery import proven
from autoprune.surgery.apply import pruned
from autoprune.train import Trainer, accuracy
from autoprune.train.parallel import Parallel

logger = logging.getLogger(__name__)

IMAGES = 512
"""How many images criteria look at unless told otherwise."""

_ROUND_SEEDS = 1_000_003
"""Distance of the seeds of two rounds, so that no two epochs of a run share one."""


@dataclass(eq=False)
class Work:
    """A pipeline at work; made by `working`.

    Attributes:
        name: Of the pipeline.
        dense: The network that was given; untouched.
        model: The copy that is pruned and trained.
        graph: Of `model`.
        inputs: Example inputs.
        data: The loaders.
        trainer: How to train.
        images: Images for criteria.
        seed: Of everything that is drawn.
        state: Where the pipeline stands.
        rounds: How many rounds there will be, None where that is not known.
        cuts: Whether channels are cut out at the end, rather than weights masked.
    """

    name: str
    dense: nn.Module
    model: nn.Module
    graph: PruneGraph
    inputs: Any
    data: Splits
    trainer: Trainer
    images: FirstImages
    seed: int
    state: State = field(default_factory=State)
    rounds: int | None = None
    cuts: bool = False
    _score: Callable[[nn.Module], float] | None = None
    _folder: Folder | None = None
    _listener: Listener | None = None

    @property
    def round_seed(self) -> int:
        """Seed of the running round."""
        return self.seed + _ROUND_SEEDS * self.state.round

    def tell(self, stage: Stage, epoch: int = 0, epochs: int = 0) -> None:
        """Say what happens."""
        logger.info("%s: %s, round %d, epoch %d", self.name, stage, self.state.round + 1, epoch)
        if self._listener is not None:
            row = dict(self.state.row)
            self._listener(Progress(stage, self.state.round + 1, self.rounds, epoch, epochs, row))

    def require_score(self) -> None:
        """Refuse data without a score.

        Raises:
            DataError: `data.search_val` has no labels and no `score` was given.
        """
        if self._score is None:
            raise DataError("data.search_val must have labels to hold an accuracy floor; or pass score=...")

    def score(self) -> float | None:
        """What the network is worth now."""
        return None if self._score is None else float(self._score(self.model))

    def unit_scores(self, criterion: Criterion) -> dict[str, Tensor]:
        """Scores of the network's units as it is now, shape (size,) by name of every prunable group."""
        return unit_scores(self.graph, self.model, criterion, *self._material(criterion))

    def weight_scores(self, criterion: Criterion) -> dict[str, Tensor]:
        """Scores of the network's single weights as it is now, by name of the weight."""
        return weight_scores(self.graph, self.model, criterion, *self._material(criterion))

    def _material(self, criterion: Criterion) -> tuple[Calibration | None, int, FirstImages]:
        """Calibration, seed and images: what `criterion` may need."""
        calibration = None
        if criterion.statistics or (criterion.needs & {"data", "gradients"} and not criterion.runs):
            wanted = criterion.statistics
            calibration = calibrate(self.graph, self.model, self.images, seed=self.seed, statistics=wanted)
        return calibration, self.round_seed, self.images

    def checkpoint(self) -> None:
        """Save the state, if there is a folder."""
        parallel = Parallel(self.trainer.accelerate, device_of(self.model))
        parallel.wait()
        if self._folder is not None and parallel.main:
            self._folder.save(self.state.pack(self.model))

    def remember(self, time: str) -> None:
        """Keep a copy of the network's tensors under a name."""
        self.state.copies[time] = snapshot(self.model)

    def recall(self, time: str) -> None:
        """Put the copy of that name back, bit by bit."""
        write(self.model, self.state.copies[time])

    def finish(self) -> PipelineResult:
        """The result, written to the folder if there is one."""
        self.tell("save")
        result = self._sliced() if self.cuts else self._masked()
        if self._folder is not None and Parallel(self.trainer.accelerate, device_of(self.model)).main:
            self._folder.finish(result)
        self.tell("done")
        return result

    def _masked(self) -> PipelineResult:
        masks = self.state.masks
        masks.bake(self.model)
        measures = measure(self.model, self.inputs, masks=masks)
        return self._result(self.model, masks, None, measures)

    def _sliced(self) -> PipelineResult:
        info = {"pipeline": self.name, "seed": self.seed}
        plan = make_plan(self.graph, self.model, self.state.keep, info)
        small = pruned(self.model, plan, rewriter=self.graph.rewriter)
        return self._result(small, None, plan, measure(small, self.inputs, dense=self.dense))

    def _result(self, model: nn.Module, masks: Any, plan: Any, measures: Any) -> PipelineResult:
        path = None if self._folder is None else self._folder.path
        return PipelineResult(self.name, model, masks, plan, list(self.state.history), measures, path)


@contextmanager
def working(
    name: str, model: nn.Module, data: Splits, settings: Mapping[str, Any], options: Options
) -> Iterator[Work]:
    """Begin a pipeline, or go on with one.

    Args:
        name: Of the pipeline.
        model: Trained or new network, in any mode; untouched.
        data: Loaders `train` and `search_val`.
        settings: JSON values that shape the result: what `resume` compares.
        options: The arguments that all pipelines share.

    Raises:
        ArgumentError: An unknown or wrong option.
        DataError: A loader is missing or empty.
        ModelError: Weights that are not finite.
        TraceError: `torch.export` refuses the model.
        RunError: `run_dir` cannot be used, or holds another run.
    """
    _check_options(options)
    check_model(model)
    data = check_data(data)
    dense = unwrap(model)
    seed, count = options.get("seed", 0), options.get("images", IMAGES)
    images = FirstImages(data.train, count, seed=seed, name="data.train", device=device_of(dense))
    trainer, listener = options.get("trainer") or Trainer(), options.get("on_progress")
    if listener is not None:
        listener(Progress("trace", 0, None))
    inputs = options.get("example_inputs")
    inputs = next(iter(images)).first(1).inputs if inputs is None else inputs
    network = copy.deepcopy(dense)
    graph = proven(trace(network, inputs))
    score = options["score"] if "score" in options else _accuracy_of(data)
    identity = {"pipeline": name, "seed": seed, "images": count, **_trained_by(trainer), **settings}
    identity |= {"model": digest_of(tensors_of(dense)), "data": images.digest}
    parallel = Parallel(trainer.accelerate, device_of(dense))
    with _opened(parallel, options.get("run_dir"), options.get("resume", False), identity) as folder:
        saved = None if folder is None else folder.load()
        state = State() if saved is None else State.unpack(saved, network)
        taught = trainer.taught_by(dense)
        work = Work(name, dense, network, graph, inputs, data, taught, images, seed, state)
        work._score, work._folder, work._listener = score, folder, listener
        yield work


@contextmanager
def _opened(
    parallel: Parallel, run_dir: StrPath | None, resume: bool, settings: dict[str, Any]
) -> Iterator[Folder | None]:
    """The folder, if there is to be one: locked by the main process, to be read by the others."""
    if run_dir is None:
        yield None
        return
    with ExitStack() as stack:
        if parallel.main:
            folder = stack.enter_context(opened_folder(run_dir, resume, settings))
        parallel.wait()
        yield folder if parallel.main else Folder(Path(run_dir))


def _trained_by(trainer: Trainer) -> dict[str, str]:
    """What can be told of a trainer: its numbers, and the names of its callables."""
    return {
        "optimizer": _called(trainer.optimizer), "scheduler": _called(trainer.scheduler),
        "every": trainer.every, "loss": _called(trainer.loss), "distill": repr(trainer.distill),
    }  # fmt: skip


def _called(part: Any) -> str:
    if isinstance(part, partial):
        settings = [*map(repr, part.args), *(f"{key}={value!r}" for key, value in part.keywords.items())]
        return f"{_called(part.func)}({', '.join(settings)})"
    return str(getattr(part, "__qualname__", type(part).__name__))


def _accuracy_of(data: Splits) -> Callable[[nn.Module], float] | None:
    """The accuracy on `data.search_val`, or None where it has no labels."""
    first = next(iter(FirstImages(data.search_val, 1, seed=0, name="data.search_val")))
    if first.labels is None or first.labels.is_floating_point() or first.labels.dim() != 1:
        return None
    return lambda model: accuracy(model, data.search_val)


def _check_options(options: Options) -> None:
    known = Options.__annotations__
    if unknown := [name for name in options if name not in known]:
        raise ArgumentError(f"a pipeline has no argument '{unknown[0]}'; shared ones: {', '.join(known)}")
    if not isinstance(options.get("trainer") or Trainer(), Trainer):
        raise ArgumentError(f"trainer must be a Trainer, got {type(options['trainer']).__name__}")
    if options.get("resume", False) and options.get("run_dir") is None:
        raise ArgumentError("resume must come with the run_dir to go on with, got run_dir=None")
