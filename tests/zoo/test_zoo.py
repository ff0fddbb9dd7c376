"""Real network definitions, pruned at random and proved by running; `benchmarks.zoo` has all of them."""

import warnings
from collections.abc import Iterator

import pytest
import torch

from autoprune.graph import trace
from autoprune.plan import make_plan
from autoprune.surgery import proven
from autoprune.verify import verify
from benchmarks import zoo_check
from benchmarks.zoo_models import Entry, entries, load

FAST = [entry for entry in entries() if entry.fast]
SEVERAL = pytest.mark.parametrize("entry", FAST, ids=[f"{e.library}-{e.name}" for e in FAST])
# Its own class holds what pruning heads changes: a fused qkv is split at constants.
GRAPHS = {"GPT-2"}
# It computes its softmax in float32 whatever the dtype of its weights.
SINGLE = {"T5"}


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Warnings of other libraries are not ours."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def loaded(entry: Entry) -> Entry:
    try:
        load(entry.library)
    except ImportError as error:
        pytest.skip(f"needs {entry.library}: {error}")
    return entry


@SEVERAL
def test_pruned_at_random_and_verified(entry: Entry) -> None:
    found = zoo_check.ours(loaded(entry), draws=1)
    assert found["faults"] == [] and found["difference"] < (1e-6 if entry.name in SINGLE else 1e-12)
    assert found["cannot_follow"] == {} and found["own_class"] == (entry.name not in GRAPHS)
    assert found["share"] >= (0.95 if entry.convolutional else 0.7)


def test_the_zoo_is_large_enough() -> None:
    names = {
        library: [e.name for e in entries() if e.library == library] for library in ("timm", "torchvision")
    }
    assert len(names["torchvision"]) >= 20 and len(names["timm"]) >= 66
    whole = [e.name for e in entries() if e.library == "transformers"]
    assert {"BERT", "DistilBERT", "ViT", "Swin", "GPT-2", "Whisper"} <= set(whole)
    assert all(len(set(group)) == len(group) for group in (*names.values(), whole))


def test_a_wrong_network_is_found() -> None:
    """The negative control of the negative control: slices of other units than those that are zeroed."""
    entry = loaded(next(e for e in FAST if e.name == "test_resnet"))
    model, inputs = zoo_check.prepared(entry), entry.inputs()
    graph = proven(trace(model, inputs))
    keep = zoo_check.drawn(graph, 0)
    plan = make_plan(graph, model, keep)
    assert verify(model, plan, inputs).passed
    name, dims = next((name, dims) for name, dims in plan.slices.items() if 0 in dims and len(dims[0]) > 1)
    gone = next(i for i in range(plan.fingerprint[name][0]) if i not in dims[0])
    wrong = sorted((*dims[0][:-1], gone))
    swapped = plan.model_copy(update={"slices": plan.slices | {name: {**dims, 0: tuple(wrong)}}})
    assert zoo_check.between(model, plan, swapped, inputs, graph, torch.float64) > 1e-3
    assert zoo_check.between(model, plan, plan, inputs, graph, torch.float64) < 1e-12
