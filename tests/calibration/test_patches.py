import pytest
import torch
from torch import Tensor, nn

from autoprune.calibration.intercept import LayerCall, Watch
from autoprune.calibration.patches import outputs_at, patches, sample
from autoprune.graph.types import Extent, Layer

LAYERS = {
    "conv1d": (nn.Conv1d(4, 6, 3, stride=2, padding=1), (3, 4, 11)),
    "conv2d": (nn.Conv2d(4, 6, 3, padding=1, bias=False), (3, 4, 7, 5)),
    "stride": (nn.Conv2d(4, 6, (3, 2), stride=(2, 3), padding=(0, 2)), (3, 4, 9, 8)),
    "dilation": (nn.Conv2d(4, 6, 3, dilation=2, padding=1), (3, 4, 9, 8)),
    "groups": (nn.Conv2d(8, 6, 3, groups=2), (3, 8, 6, 6)),
    "depthwise": (nn.Conv2d(6, 6, 3, groups=6, padding=1), (3, 6, 6, 6)),
    "same": (nn.Conv2d(4, 6, (3, 5), dilation=(2, 1), padding="same"), (3, 4, 7, 7)),
    "valid": (nn.Conv2d(4, 6, 2, padding="valid"), (3, 4, 7, 7)),
    "circular": (nn.Conv2d(4, 6, 3, padding=1, padding_mode="circular"), (3, 4, 7, 7)),
    "unbatched": (nn.Conv2d(4, 6, 3), (4, 7, 7)),
    "conv3d": (nn.Conv3d(2, 4, (1, 2, 3), stride=(1, 2, 1), padding=(0, 1, 1)), (2, 2, 4, 5, 6)),
    "linear": (nn.Linear(5, 3), (4, 5)),
    "tokens": (nn.Linear(5, 3), (4, 7, 5)),
    "map": (nn.Linear(5, 3), (4, 2, 3, 5)),
    "vector": (nn.Linear(5, 3), (5,)),
}


class One(Watch):
    def on_layer(self, call: LayerCall) -> Tensor:
        self.call, self.output = call, call.run()
        return self.output


def run(name: str, dtype: torch.dtype = torch.float64) -> tuple[LayerCall, Tensor]:
    module, shape = LAYERS[name]
    module = module.to(dtype)
    kind = "linear" if isinstance(module, nn.Linear) else "conv"
    one = Extent(1)
    layer = Layer("", kind, "weight", None, (), (), (), (), one, one, one, 1)
    watch = One(module, [layer])
    with torch.no_grad(), watch:
        module(torch.randn(shape, dtype=dtype))
    return watch.call, watch.output


def product(call: LayerCall, rows: Tensor) -> Tensor:
    weight = call.weight.detach().reshape(call.groups, -1, rows.shape[2]).to(rows.dtype)
    result = (rows @ weight.mT).transpose(0, 1).flatten(1)
    return result if call.bias is None else result + call.bias.detach()


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("count", [1, 3, 10_000])
def test_patches_times_weight_is_the_layers_output_there(name: str, count: int) -> None:
    call, output = run(name)
    where = sample(call, output, output.shape[0], count, torch.Generator().manual_seed(0))
    expected = outputs_at(call, output, where)
    torch.testing.assert_close(product(call, patches(call, where)), expected, rtol=1e-12, atol=1e-12)
    wrong = (where + 1) % max(2, int(where.max()) + 1)
    if int(where.max()) > 0:
        assert not torch.allclose(product(call, patches(call, wrong)), expected)


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
def test_even_kernels_pad_more_behind() -> None:
    LAYERS["even"] = nn.Conv2d(4, 6, 4, padding="same"), (3, 4, 7, 7)
    test_patches_times_weight_is_the_layers_output_there("even", 10)
    del LAYERS["even"]


@pytest.mark.parametrize("name", ["conv2d", "tokens"])
def test_positions_are_distinct_and_seeded(name: str) -> None:
    call, output = run(name)

    def draw(seed: int) -> Tensor:
        return sample(call, output, len(output), 4, torch.Generator().manual_seed(seed))

    assert torch.equal(draw(0), draw(0)) and not torch.equal(draw(0), draw(1))
    assert all(len(set(row.tolist())) == 4 for row in draw(0))


def test_rows_of_several_windows_per_image_share_the_positions() -> None:
    call, output = run("tokens")
    assert sample(call, output, 2, 4, torch.Generator()).shape == (4, 2)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_low_precision_is_gathered_as_float32(dtype: torch.dtype) -> None:
    call, output = run("linear", dtype)
    assert patches(call, sample(call, output, 4, 2, torch.Generator())).dtype == torch.float32
