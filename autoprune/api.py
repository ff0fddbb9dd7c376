"""The Python interface: `plan`, `search`, `resume` and `sensitivity`."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from torch import nn

from autoprune.errors import ArgumentError

if TYPE_CHECKING:
    from optuna.storages import BaseStorage

    from autoprune.agents import Policy
    from autoprune.budget import Budget
    from autoprune.calibration import Calibration
    from autoprune.criteria import Criterion
    from autoprune.data import Splits
    from autoprune.deploy import Deployed
    from autoprune.envs import Reward
    from autoprune.graph import PruneGraph
    from autoprune.latency import LatencyTable
    from autoprune.plan import Plan
    from autoprune.run.callbacks import Callback
    from autoprune.run.parts import AgentFactory
    from autoprune.run.result import SearchResult
    from autoprune.run.sweep import Sweep
    from autoprune.sensitivity import Sensitivity
    from autoprune.sensitivity.measure import OnPoint


def plan(
    graph: "PruneGraph",
    *,
    keep: Mapping[str, Sequence[int]] | None = None,
    widths: Mapping[str, int] | None = None,
    criterion: "str | Criterion" = "obs",
    calibration: "Calibration | None" = None,
    seed: int = 0,
    batches: Iterable[Any] | None = None,
    form: Literal["auto", "class", "graph"] = "auto",
) -> "Plan":
    """Write down which units of a network stay: exact indices, or how many, chosen by a criterion.

        graph = autoprune.trace(model, inputs)
        plan = autoprune.plan(graph, widths={"layer1.0.conv1.weight": 8}, criterion="l2")
        small = autoprune.apply(model, plan)

    Args:
        graph: What `autoprune.trace(model, example_inputs)` gave; its network is untouched.
        keep: Units that stay, by group name; missing groups stay whole.
        widths: Number of units that stay, by group name; the criterion says which. Either `keep` or `widths`.
        criterion: Orders the units; a name or an object. Not used with `keep`.
        calibration: What `autoprune.calibrate` gave; needed by criteria that look at data, such as `obs`.
        seed: Seed of criteria that draw.
        batches: Images with labels that can be read again and again, for criteria that run the network.
        form: What the pruned network is: "class", the model's own class, "graph", the rewritten exported
            graph, or "auto", the first of the two that computes what it should. For groups that only the
            rewritten graph can prune, pass `autoprune.proven(graph, form="graph")` as `graph`.

    Returns:
        The plan; `autoprune.apply(model, plan, calibration)` makes the smaller network.

    Raises:
        ArgumentError: Both or none of `keep` and `widths`, an unknown or locked group, units or widths out of
            range, or a criterion that needs a calibration, statistics in it, or batches.
        ModelError: The pruned network does not compute what it should, neither as the model's own class nor
            as the rewritten exported graph, or not in the `form` asked for; tried on the example inputs of
            the trace.
        PlanError: The network has been changed since it was traced.
    """
    from autoprune.graph import PruneGraph
    from autoprune.plan import make_plan
    from autoprune.surgery import proven_for

    if (keep is None) == (widths is None):
        raise ArgumentError(f"give either keep or widths, got {'none' if keep is None else 'both'} of them")
    if not isinstance(graph, PruneGraph) or graph.model is None:
        raise ArgumentError(
            f"graph must come from autoprune.trace(model, inputs), got {type(graph).__name__}"
        )
    info: dict[str, Any] = {}
    if keep is None:
        from autoprune.criteria import rank
        from autoprune.run.parts import name_of

        full = graph.widths(widths)
        order = rank(graph, graph.model, criterion, calibration, seed=seed, batches=batches)
        keep = {name: np.sort(units[: full[name]]).tolist() for name, units in order.items()}
        info = {"criterion": name_of(criterion), "seed": seed}
    return make_plan(proven_for(graph, keep, form=form), graph.model, keep, info)


def search(
    model: nn.Module,
    example_inputs: Any,
    data: "Splits",
    budget: "str | Budget",
    *,
    agent: "str | AgentFactory" = "ddpg",
    agent_settings: Mapping[str, Any] | None = None,
    episodes: int = 200,
    criterion: "str | Criterion" = "obs",
    reward: "str | Reward" = "kl",
    run_dir: str | PathLike[str] | None = None,
    seed: int = 0,
    device: str | None = None,
    callbacks: "Iterable[Callback]" = (),
    round_to: int | Literal["auto"] | None = None,
    lower: float = 0.1,
    floor_units: int = 1,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    form: Literal["auto", "class", "graph"] = "auto",
    heads: bool = True,
    inexact: bool = False,
    search_images: int = 512,
    calibration_images: int = 2000,
    fit_images: int = 128,
    storage: "str | BaseStorage | None" = None,
    study_name: str | None = None,
    baselines: Sequence[str] = ("uniform", "greedy"),
    max_drop: float | None = None,
    latency_table: "LatencyTable | str | PathLike[str] | None" = None,
    allow_foreign_table: bool = False,
    init_policy: "Policy | str | PathLike[str] | None" = None,
    workers: int = 1,
    ray: str | None = None,
    racing: bool = False,
    precision: Literal["float32", "bfloat16", "float16"] = "float32",
    model_source: str | None = None,
    data_source: str | None = None,
) -> "SearchResult":
    """Find how much of each layer of a trained network to prune, under a hard budget.

    An agent proposes the width of every group of channels; each proposal (an episode) is sliced out of the
    original network, reconstructed, and scored on `data.search_val`. The best one is rebuilt, re-fitted,
    verified and returned. Ctrl-C or SIGTERM end the search early with the best so far (a second one aborts);
    with `run_dir`, nothing but the running episode is lost however the process ends, and `resume` continues.

    Args:
        model: Trained network, in train or eval mode; untouched.
        example_inputs: A tensor, a tuple of arguments or a dict of keyword arguments. Costs are counted for
            these inputs, their batch included. None takes the first image of `data.search_val`, batch of one.
        data: Object with the loaders `train` and `search_val`: `autoprune.DataSplits`, a NamedTuple, ...
            A loader `test` is never touched.
        budget: Upper bounds that the result keeps: "macs=50%", "params=0.5M", "latency=60%,size=2MB". Costs
            are macs, params, size (bytes of the weights' file), memory (peak of the activations) and latency.
        agent: "ddpg", "surrogate", "cmaes", "random", "greedy", "uniform", or a callable
            `(env, *, seed, **agent_settings)` that returns an `autoprune.agents.Agent`.
        agent_settings: Further arguments of the agent, JSON values.
        episodes: Number of candidates that the agent may try.
        criterion: Orders the units of every group: "obs", "l1", "l2", "random", ... or an object.
        reward: "kl" (minus the divergence from the dense outputs; needs no labels), "accuracy",
            "accuracy_guaranteed", or a callable of evaluation and costs.
        run_dir: New folder for everything that the search writes; None writes nothing. At the end,
            `run_dir/pruned` holds what `autoprune.load` reads, `run_dir/summary.txt` the summary.
        seed: Of images, criterion and agent; the same seed gives the same search.
        device: Where the search runs, for example "cuda"; None stays where the model is.
        callbacks: Listeners, see `autoprune.Callback`.
        round_to: Widths are multiples of this (8 suits most GPUs). "auto" asks the device: the latency
            table, group by group, and whole networks, timed with widths that are multiples of 1, 4, 8 and 16;
            multiples that leave no network within the budget are halved. None is "auto" with a latency
            budget and otherwise 1.
        lower: Smallest share of its units that a group keeps.
        floor_units: Smallest number of units that a group keeps, beside `lower`.
        include: Names or patterns (`fnmatch`) of the only groups that may be pruned; empty means all.
        exclude: Names or patterns of groups that stay dense, such as ("head.*",); wins over `include`.
        form: What the pruned network is: "class", the model's own class with smaller tensors; "graph", a
            module that runs the rewritten exported graph, which may leave more prunable; "auto", the first of
            the two that computes what it should. What the form cannot follow stays dense.
        heads: Units of attention are whole heads; else they are one channel of every head.
        inexact: Prune also channels that a layer normalization runs over (the residual stream of a
            transformer); removing them is not the same as zeroing them.
        search_images: Images of `data.search_val` that score a candidate.
        calibration_images: Images of `data.train` that the calibration and the final re-fit see.
        fit_images: Images of `data.train` that every candidate is re-fitted on.
        storage: Optuna storage, or its URL, for the study; None takes a file in `run_dir`, or memory.
        study_name: Name of the study; made up where None.
        baselines: Allocations to score for comparison: "uniform", "greedy".
        max_drop: Percentage points of accuracy on the search images that may be lost. If given, the search
            looks for the network of the smallest cost (the costs that the budget names, `macs=100%` for
            example) that loses no more; it is a reward of its own.
        latency_table: Times of layers from `autoprune profile`, or their file, for a latency budget; layers
            that it lacks are measured now. None measures all of them now, in PyTorch eager. At the end the
            result is timed beside the dense network (`SearchResult.timed`); while it breaks the budget, or
            the table kept it far below, the predicted times are corrected and the search goes on, at most
            four times with a quarter of the episodes each; the best of what was timed and holds is returned.
        allow_foreign_table: Accept a table of another machine, thread count or library version; the result
            is then not timed, and says so.
        init_policy: A policy of an earlier search, or of `learn_policy`, that the agent "ddpg" goes on with:
            the policy, its folder, or the folder of the run that made it, whose episodes are then learned
            from again. Greedy and the policy's own allocation come first. Of `agent_settings`, `freeze`
            keeps first layers and `init_noise` scales the noise on a network that the policy knows.
        workers: Processes that evaluate candidates side by side, one thread each, on the CPU. The agent then
            chooses as many candidates at a time: another number is another search, the same number and seed
            the same one.
        ray: Address of a Ray cluster whose actors are the workers, or "local" for one on this machine. On a
            CUDA device every actor asks for a GPU.
        racing: Stop scoring a candidate once a test on a part of the search images says that it is worse than
            the uniform allocation. Its score is then an estimate (see `autoprune.score.Raced`), and it is
            returned only where there is no other. For the rewards "kl" and "accuracy".
        precision: In which candidates run while they are scored: "float32" (as the network is), "bfloat16",
            or on a CUDA device "float16". Fits and the network that is returned stay as they are.
        model_source: `MODULE:CALLABLE` that gives the model, so that `resume` needs none.
        data_source: `MODULE:CALLABLE` that gives the data, likewise.

    Returns:
        The pruned network with its plan, the history and a comparison.

    Raises:
        ArgumentError: An argument out of range, or inputs that the model does not take.
        BudgetError: The budget does not parse or cannot be met.
        DataError: A loader is missing, empty or malformed; labels out of range.
        ModelError: Weights or outputs that are not finite, nothing to prune, a result that fails its checks.
        TraceError: `torch.export` refuses the model.
        RunError: `run_dir` is in use, used or cannot be written to; the storage has the study already.
        KeyboardInterrupt: Stopped before the first episode was finished.
    """
    from autoprune.allocation.patterns import as_patterns
    from autoprune.run.checks import check_data, parsed_budget
    from autoprune.run.config import make_settings
    from autoprune.run.device import LatencyChoice
    from autoprune.run.max_drop import check_max_drop
    from autoprune.run.parts import Parts, Sources, checked_parts, name_of
    from autoprune.run.problem import take_subject
    from autoprune.run.scoring import check_racing
    from autoprune.run.start import start
    from autoprune.run.transfer import digest_of_policy, taken

    bounds = parsed_budget(budget)
    check_max_drop(max_drop, reward)
    check_racing(racing, reward, max_drop)
    begun = taken(init_policy, agent)
    if round_to is None:
        round_to = "auto" if "latency" in bounds.names else 1
    settings = make_settings(
        budget=str(bounds),
        agent=name_of(agent),
        agent_settings=dict(agent_settings or {}),
        episodes=episodes,
        criterion=name_of(criterion),
        reward=name_of(reward) if max_drop is None else "accuracy_guaranteed",
        max_drop=max_drop,
        seed=seed,
        device=None if device is None else str(device),
        round_to=round_to,
        lower=lower,
        floor_units=floor_units,
        include=as_patterns(include, "include"),
        exclude=as_patterns(exclude, "exclude"),
        form=form,
        heads=heads,
        inexact=inexact,
        search_images=search_images,
        calibration_images=calibration_images,
        fit_images=fit_images,
        baselines=tuple(baselines),
        init_policy=None if begun is None else digest_of_policy(begun),
        workers=workers,
        ray=ray,
        racing=racing,
        precision=precision,
    )
    parts = checked_parts(Parts(criterion, reward, agent, storage, tuple(callbacks), begun))
    splits = check_data(data)
    return start(
        lambda: take_subject(model, example_inputs, splits, settings),
        bounds,
        settings,
        parts,
        Sources(model_source, data_source),
        run_dir,
        study_name,
        LatencyChoice(latency_table, allow_foreign_table),
    )


def sweep(
    model: nn.Module,
    example_inputs: Any,
    data: "Splits",
    budgets: Sequence[str],
    *,
    agent: str = "ddpg",
    agent_settings: Mapping[str, Any] | None = None,
    run_dir: str | PathLike[str] | None = None,
    **settings: Any,
) -> "Sweep":
    """Search several budgets and show what is to be had for which cost.

        result = autoprune.sweep(model, inputs, data, ["macs=70%", "macs=50%", "macs=30%"], run_dir="sweep")
        print(result.table())
        result.plot("front.png")

    Args:
        model: As for `search`.
        example_inputs: As for `search`.
        data: As for `search`.
        budgets: At least two, in the order in which they are searched: loose ones first. Every search begins
            with the best candidate of the one before, lowered to its own budget by the wall.
        agent: Name of the agent, as for `search`.
        agent_settings: Further arguments of the agent.
        run_dir: Folder: one run per budget, each with its plan, and `sweep.csv`, which is written anew behind
            every search. A sweep that was stopped there goes on where it was if it is called in the same way
            again; more budgets may follow. None writes nothing.
        **settings: All other arguments of `search`.

    Returns:
        The points with the Pareto front as table, CSV and plot. An interrupt ends the search that is running
        and the sweep, with the points so far.

    Raises:
        ArgumentError: Fewer than two budgets, one twice, or a `run_dir` with something else in it, or with a
            sweep of other settings; and as `search`.
        BudgetError: As `search`.
        DataError: As `search`.
        ModelError: As `search`.
        TraceError: As `search`.
        RunError: As `search`.
    """
    from functools import partial

    from autoprune.run.sweep import sweep_budgets

    one = partial(search, model, example_inputs, data, **settings)
    named = ("callbacks", "storage", "criterion", "reward")
    passed: dict[str, Any] = {name: settings[name] for name in named if name in settings}
    again = partial(resume, model=model, example_inputs=example_inputs, data=data, **passed)
    around = ("callbacks", "storage", "model_source", "data_source")
    deciding = {name: value for name, value in settings.items() if name not in around}
    return sweep_budgets(one, again, budgets, run_dir, agent, dict(agent_settings or {}), deciding)


def resume(
    run_dir: str | PathLike[str],
    *,
    model: nn.Module | None = None,
    example_inputs: Any = None,
    data: "Splits | None" = None,
    episodes: int | None = None,
    callbacks: "Iterable[Callback]" = (),
    storage: "str | BaseStorage | None" = None,
    device: str | None = None,
    agent: "AgentFactory | None" = None,
    criterion: "Criterion | None" = None,
    reward: "Reward | None" = None,
) -> "SearchResult":
    """Continue a search where it was stopped: exactly the episodes that it would have run.

    A run that is finished gives its result again, or runs more episodes if `episodes` says so.

    Args:
        run_dir: The folder that `search` was given.
        model: The same trained network; None makes it from the recorded `model_source`.
        example_inputs: None takes the recorded ones.
        data: The same data; None makes it from the recorded `data_source`.
        episodes: New total number of episodes; None keeps what the run was started with.
        callbacks: Listeners, see `autoprune.Callback`.
        storage: The storage of the study; needed only where it was an object or its URL held a password.
        device: None keeps what the run was started with.
        agent: Needed if the run was started with an agent that is not a registered name.
        criterion: Likewise.
        reward: Likewise.

    Returns:
        The same as `search`.

    Raises:
        RunError: No run there, in use, damaged beyond its last good state (the message names the file), or
            model or data are missing or not those of the run.
        PlanError: An earlier result in the folder is damaged; it is not overwritten.
        ArgumentError: `episodes` below what the run already has.
    """
    from autoprune.run.parts import Parts, checked_parts
    from autoprune.run.resume import proceed

    parts = Parts(criterion or "", reward or "", agent or "", storage, tuple(callbacks))
    overrides = {"episodes": episodes, "device": None if device is None else str(device)}
    return proceed(run_dir, model, example_inputs, data, overrides, checked_parts(parts))


def export(
    source: "nn.Module | SearchResult | str | PathLike[str]",
    path: str | PathLike[str],
    *,
    to: str = "onnx",
    example_inputs: Any = None,
    model: nn.Module | None = None,
    dynamic_batch: bool = False,
) -> "Deployed":
    """Write a network as a file that other programs run, read it again, compare and time it.

        print(autoprune.export("runs/r20", "small.onnx", model=dense))

    Args:
        source: A network, what `search` returned, or the folder of a finished run.
        path: The new file ("onnx": ends with .onnx, "torch": .pt2), or the folder ("safetensors").
        to: "onnx" and "torch" (a `torch.export` program) run without this library and without the network's
            class; "safetensors" is what `autoprune.load` reads: weights and plan.
        example_inputs: What the network is run on; a program takes inputs of these shapes. None takes those
            of the run.
        model: The dense network of a run; None makes it from the recorded source.
        dynamic_batch: Whether a program takes batches of any size. The batch is the first dimension of the
            first input and of all others that are as long.

    Returns:
        The largest difference between file and network, and the times of both.

    Raises:
        ArgumentError: An unknown format, a wrong suffix, missing inputs, plan or libraries; `dynamic_batch`
            with inputs that have no batch, or with "safetensors".
        ModelError: The network cannot be exported, or not for any batch size, or the file computes something
            else.
        RunError: The folder holds no finished run.
        PlanError: A file of the run is damaged.
        OSError: The file cannot be written.
    """
    from autoprune.deploy import export_network

    if isinstance(source, nn.Module):
        if example_inputs is None:
            raise ArgumentError("example_inputs must be given to export a network")
        return export_network(source, path, to=to, example_inputs=example_inputs, dynamic_batch=dynamic_batch)
    from autoprune.run.pruned import read_pruned
    from autoprune.run.result import SearchResult

    if isinstance(source, SearchResult):
        if example_inputs is None:
            raise ArgumentError("example_inputs must be given to export the result of a search")
        network, inputs, plan = source.model, example_inputs, source.plan
    else:
        run = read_pruned(source, model)
        inputs = run.example_inputs if example_inputs is None else example_inputs
        network, plan = run.model, run.plan
    return export_network(network, path, to=to, example_inputs=inputs, plan=plan, dynamic_batch=dynamic_batch)


def sensitivity(
    model: nn.Module,
    example_inputs: Any,
    data: "Splits",
    *,
    ratios: Sequence[float] = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9),
    criterion: "str | Criterion" = "obs",
    reconstruct: bool = True,
    search_images: int = 512,
    calibration_images: int = 2000,
    fit_images: int = 128,
    groups: Sequence[str] | None = None,
    seed: int = 0,
    device: str | None = None,
    path: str | PathLike[str] | None = None,
    on_point: "OnPoint | None" = None,
    on_stage: Callable[[str], None] | None = None,
) -> "Sensitivity":
    """Measure how much a trained network suffers when one group of channels alone is pruned.

        result = autoprune.sensitivity(model, None, data, path="points.json")
        print(result.table())
        result.to_csv("sensitivity.csv")
        result.plot("sensitivity.png")

    Every point is evaluated as a search evaluates a candidate. Beside it stands the reconstruction error at
    the same width, which costs no evaluation, and how well the two agree (Spearman's correlation).

    Args:
        model: Trained network, in train or eval mode; untouched.
        example_inputs: As for `search`; None takes the first image of `data.search_val`, batch of one.
        data: Object with the loaders `train` and `search_val`; a loader `test` is never touched.
        ratios: Pruning ratios in [0, 1): the share of a group's units that goes. Widths are rounded down; at
            least one unit stays. Ratios that come to the same width are evaluated once.
        criterion: Orders the units of every group; a name or an object.
        reconstruct: Whether weights are fitted after the units are gone.
        search_images: Images of `data.search_val` that are measured on.
        calibration_images: Images of `data.train` that the calibration sees.
        fit_images: Images of `data.train` that every candidate is re-fitted on.
        groups: Names or patterns (`fnmatch`) of the groups to measure; None takes all that can be pruned.
        seed: Of images and criterion.
        device: Where it runs, for example "cuda"; None stays where the model is.
        path: JSON file that keeps every point as soon as it is measured. If it exists, what it holds is not
            measured again; other ratios and groups may be asked for than before. None keeps nothing.
        on_point: Called with every point, how many there are by now and how many there will be.
        on_stage: Called with the name of every stage: "trace", "calibrate", "rank", "measure".

    Returns:
        The points, with a table, CSV and a plot.

    Raises:
        ArgumentError: An argument out of range, an unknown criterion, or a pattern that matches no group.
        DataError: A loader is missing, empty or malformed; labels out of range.
        ModelError: Weights or outputs that are not finite, or nothing to prune.
        TraceError: `torch.export` refuses the model.
        RunError: `path` is damaged, cannot be written, or holds points of another network, other images or
            other settings; the message names the first difference.
    """
    from autoprune.run.config import make_settings
    from autoprune.run.parts import name_of
    from autoprune.run.sensitivity import analyse

    settings = make_settings(
        budget="macs=100%,params=100%",
        agent="",
        episodes=1,
        criterion=name_of(criterion),
        reward="kl",
        seed=seed,
        device=None if device is None else str(device),
        round_to=1,
        lower=0.0,
        search_images=search_images,
        calibration_images=calibration_images,
        fit_images=fit_images,
        baselines=(),
    )
    return analyse(
        model,
        example_inputs,
        data,
        settings,
        criterion,
        ratios=ratios,
        groups=groups,
        reconstruct=reconstruct,
        path=path,
        on_point=on_point,
        on_stage=on_stage or (lambda stage: None),
    )
