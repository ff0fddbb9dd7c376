import json
from typing import Any

import pytest
import torch
from torch import Tensor

from autoprune.errors import PlanError
from autoprune.plan.inputs import describe_inputs, make_inputs

CPU = torch.device("cpu")
INPUTS: dict[str, Any] = {
    "tensor": torch.ones(2, 3),
    "scalar": torch.tensor(3),
    "tuple": (torch.ones(2, 3), torch.ones(2, 5, dtype=torch.int64), None, 4),
    "list": [torch.ones(1, dtype=torch.float64), [True, "text", 0.5]],
    "dict": {"ids": torch.ones(2, 7, dtype=torch.int32), "more": ({"mask": torch.ones(2, 7).bool()},)},
}


def shapes(value: Any) -> Any:
    if isinstance(value, Tensor):
        return tuple(value.shape), value.dtype
    if isinstance(value, dict):
        return {key: shapes(one) for key, one in value.items()}
    return type(value)(shapes(one) for one in value) if isinstance(value, tuple | list) else value


@pytest.mark.parametrize("inputs", INPUTS.values(), ids=INPUTS.keys())
def test_all_but_the_values_comes_back(inputs: Any) -> None:
    described = json.loads(json.dumps(describe_inputs(inputs, torch.float32)))
    found = make_inputs(described, CPU, torch.float32)
    assert shapes(found) == shapes(inputs)


def test_inputs_of_the_models_type_follow_it() -> None:
    described = describe_inputs((torch.ones(2), torch.ones(2, dtype=torch.int64)), torch.float32)
    assert [t.dtype for t in make_inputs(described, CPU, torch.bfloat16)] == [torch.bfloat16, torch.int64]


@pytest.mark.parametrize("inputs", [object(), (torch.ones(1), {1, 2}), {3: torch.ones(1)}])
def test_what_json_cannot_hold_is_none(inputs: Any) -> None:
    assert describe_inputs(inputs, torch.float32) is None


@pytest.mark.parametrize(
    "described",
    [
        3,
        {},
        {"shape": [2]},
        {"shape": 2, "dtype": "float32"},
        {"shape": [-2], "dtype": "float32"},
        {"shape": [2], "dtype": "nn"},
        {"tuple": {}},
        {"set": []},
        {"list": [{"value": []}]},
    ],
)
def test_damage_is_an_error(described: Any) -> None:
    with pytest.raises(PlanError, match="the plan's inputs are damaged"):
        make_inputs(described, CPU, torch.float32)
