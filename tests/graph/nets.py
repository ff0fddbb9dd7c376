"""Small networks of every family that the tracer must understand, by name."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Net = tuple[nn.Module, Any]
NETS: dict[str, Callable[[], Net]] = {}


def net(build: Callable[[], Net]) -> Callable[[], Net]:
    """Add a builder of (model, example inputs) to the table."""
    NETS[build.__name__] = build
    return build


def image(channels: int = 3, size: int = 8, batch: int = 2) -> Tensor:
    return torch.randn(batch, channels, size, size, generator=torch.Generator().manual_seed(1))


def tokens(length: int = 5, width: int = 12, batch: int = 2) -> Tensor:
    return torch.randn(batch, length, width, generator=torch.Generator().manual_seed(1))


def conv_bn(c_in: int, c_out: int, kernel: int = 3, **settings: Any) -> nn.Sequential:
    conv = nn.Conv2d(c_in, c_out, kernel, padding=kernel // 2, bias=False, **settings)
    return nn.Sequential(conv, nn.BatchNorm2d(c_out), nn.ReLU())


class Lambda(nn.Module):
    """A forward written as a function of (module, input); layers are set as attributes."""

    def __init__(self, forward: Callable[..., Any], **layers: Any):
        super().__init__()
        self.run = forward
        for name, layer in layers.items():
            setattr(self, name, layer)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.run(self, *args, **kwargs)


# ---- chains ----


@net
def plain_cnn() -> Net:
    return (
        nn.Sequential(
            conv_bn(3, 8),
            nn.MaxPool2d(2),
            conv_bn(8, 12),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(12, 5),
        ),
        image(),
    )


@net
def mlp() -> Net:
    return nn.Sequential(
        nn.Linear(6, 10), nn.Tanh(), nn.Linear(10, 7), nn.GELU(), nn.Linear(7, 3)
    ), torch.randn(4, 6)


@net
def vgg_flatten() -> Net:
    features = nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(True), nn.MaxPool2d(2), nn.Conv2d(6, 8, 3), nn.ReLU(True)
    )
    head = nn.Sequential(nn.Linear(8 * 4, 9), nn.ReLU(True), nn.Dropout(), nn.Linear(9, 4))
    return Lambda(lambda m, x: m.head(torch.flatten(m.features(x), 1)), features=features, head=head), image()


@net
def functional() -> Net:
    def forward(m: Any, x: Tensor) -> Tensor:
        x = F.relu(F.batch_norm(F.conv2d(x, m.w1, m.b1, padding=1), m.mean, m.var, m.scale, m.shift))
        x = F.hardswish(F.conv2d(x, m.w2, stride=2)).mean((2, 3))
        return F.linear(x, m.w3, m.b3)

    model = Lambda(forward)
    for name, shape in {
        "w1": (6, 3, 3, 3),
        "b1": (6,),
        "scale": (6,),
        "shift": (6,),
        "w2": (8, 6, 1, 1),
        "w3": (4, 8),
        "b3": (4,),
    }.items():
        setattr(model, name, nn.Parameter(torch.randn(shape)))
    model.register_buffer("mean", torch.randn(6))
    model.register_buffer("var", torch.rand(6) + 0.5)
    return model, image()


# ---- branches ----


@net
def residual() -> Net:
    def forward(m: Any, x: Tensor) -> Tensor:
        x = m.stem(x)
        for block in m.blocks:
            x = F.relu(x + block(x))
        return m.head(x.mean((2, 3)))

    def block() -> nn.Sequential:
        return nn.Sequential(conv_bn(8, 6), nn.Conv2d(6, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8))

    return Lambda(
        forward, stem=conv_bn(3, 8), blocks=nn.ModuleList([block(), block()]), head=nn.Linear(8, 4)
    ), image()


@net
def inplace_residual() -> Net:
    def forward(m: Any, x: Tensor) -> Tensor:
        x = F.relu_(m.stem(x))
        y = m.conv(x)
        y += x
        y.relu_().mul_(0.5)
        y.add_(1.0).sigmoid_()
        return m.head(y.mean((2, 3)))

    return Lambda(
        forward, stem=nn.Conv2d(3, 8, 3), conv=nn.Conv2d(8, 8, 3, padding=1), head=nn.Linear(8, 4)
    ), image()


@net
def option_a() -> Net:
    def forward(m: Any, x: Tensor) -> Tensor:
        x = m.stem(x)
        y = m.outer(m.inner(x))
        return m.head(F.relu(y + F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 2, 2))).mean((2, 3)))

    layers = dict(
        stem=conv_bn(3, 4),
        inner=conv_bn(4, 6, stride=2),
        outer=nn.Conv2d(6, 8, 3, padding=1),
        head=nn.Linear(8, 3),
    )
    return Lambda(forward, **layers), image()


@net
def concat() -> Net:
    def forward(m: Any, x: Tensor) -> Tensor:
        x = torch.cat([m.a(x), m.b(x), x], 1)
        return m.head(m.c(x).mean((2, 3)))

    return Lambda(
        forward, a=conv_bn(3, 4), b=conv_bn(3, 6, 1), c=conv_bn(13, 8), head=nn.Linear(8, 3)
    ), image()


@net
def densenet() -> Net:
    def forward(m: Any, x: Tensor) -> Tensor:
        found = [m.stem(x)]
        for layer in m.layers:
            found.append(layer(torch.cat(found, 1)))
        return m.head(F.relu(m.norm(torch.cat(found, 1))).mean((2, 3)))

    def layer(c_in: int) -> nn.Sequential:
        return nn.Sequential(nn.BatchNorm2d(c_in), nn.ReLU(), nn.Conv2d(c_in, 4, 3, padding=1, bias=False))

    layers = nn.ModuleList([layer(6), layer(10), layer(14)])
    return Lambda(
        forward, stem=nn.Conv2d(3, 6, 3), layers=layers, norm=nn.BatchNorm2d(18), head=nn.Linear(18, 4)
    ), image()


@net
def shared_module() -> Net:
    def forward(m: Any, x: Tensor) -> Tensor:
        x = m.stem(x)
        x = m.body(x) + x
        return m.head(m.body(F.max_pool2d(x, 2)).mean((2, 3)))

    model = Lambda(forward, stem=conv_bn(3, 6), body=conv_bn(6, 6), head=nn.Linear(6, 3))
    model.alias = model.body
    return model, image()


@net
def tied_weights() -> Net:
    first, last = nn.Linear(6, 8), nn.Linear(6, 8)
    last.weight = first.weight
    return Lambda(
        lambda m, x: m.out(torch.relu(m.first(x)) * torch.sigmoid(m.last(x))),
        first=first,
        last=last,
        out=nn.Linear(8, 2),
    ), torch.randn(4, 6)


@net
def two_inputs_dict_output() -> Net:
    def forward(m: Any, image: Tensor, vector: Tensor) -> dict[str, Any]:
        x = m.conv(image).mean((2, 3)) + m.embed(vector)
        return {"logits": m.head(x), "extra": (m.side(x),)}

    layers = dict(conv=conv_bn(3, 8), embed=nn.Linear(5, 8), head=nn.Linear(8, 4), side=nn.Linear(8, 2))
    return Lambda(forward, **layers), {"image": image(), "vector": torch.randn(2, 5)}


# ---- grouped ----


@net
def mobilenet() -> Net:
    def forward(m: Any, x: Tensor) -> Tensor:
        x = m.stem(x)
        x = x + m.one(x)
        return m.head(m.two(x).mean((2, 3)))

    def inverted(c_in: int, wide: int, c_out: int, stride: int) -> nn.Sequential:
        depthwise = conv_bn(wide, wide, stride=stride, groups=wide)
        return nn.Sequential(
            conv_bn(c_in, wide, 1), depthwise, nn.Conv2d(wide, c_out, 1, bias=False), nn.BatchNorm2d(c_out)
        )

    return Lambda(
        forward,
        stem=conv_bn(3, 6),
        one=inverted(6, 12, 6, 1),
        two=inverted(6, 18, 10, 2),
        head=nn.Linear(10, 3),
    ), image()


@net
def depthwise_multiplier() -> Net:
    return nn.Sequential(
        nn.Conv2d(3, 4, 1),
        nn.Conv2d(4, 12, 3, groups=4),
        nn.Hardtanh(-1, 2),
        nn.Conv2d(12, 5, 1),
        nn.Flatten(),
        nn.Linear(180, 2),
    ), image()


@net
def grouped() -> Net:
    return nn.Sequential(
        conv_bn(3, 8), conv_bn(8, 12, groups=4), conv_bn(12, 6, groups=2), nn.Conv2d(6, 4, 1), nn.Flatten()
    ), image()


@net
def grouped_reduction() -> Net:
    return nn.Sequential(
        nn.Conv2d(3, 8, 1), nn.Conv2d(8, 4, 3, groups=4), nn.ReLU6(), nn.Conv2d(4, 3, 1), nn.Flatten()
    ), image()


@net
def transposed() -> Net:
    return (
        nn.Sequential(
            nn.Conv2d(3, 8, 3),
            nn.ConvTranspose2d(8, 6, 3, stride=2, output_padding=1),
            nn.BatchNorm2d(6),
            nn.ReLU(),
            nn.ConvTranspose2d(6, 12, 3, groups=2),
            nn.ELU(),
            nn.ConvTranspose2d(12, 24, 1, groups=12),
            nn.SiLU(),
            nn.Conv2d(24, 2, 1),
        ),
        image(),
    )


@net
def one_and_three_dimensional() -> Net:
    def forward(m: Any, x: Tensor) -> Tensor:
        y = m.volume(x).mean((2, 3))
        return m.out(F.avg_pool1d(F.leaky_relu(m.line(y)), 2)).flatten(1)

    layers = dict(
        volume=nn.Sequential(nn.Conv3d(2, 6, 3, padding="same"), nn.BatchNorm3d(6), nn.ReLU()),
        line=nn.Conv1d(6, 8, 3, dilation=2),
        out=nn.Conv1d(8, 2, 1),
    )
    return Lambda(forward, **layers), torch.randn(2, 2, 4, 4, 8)


# ---- gates, norms, layouts ----


@net
def squeeze_excite() -> Net:
    def forward(m: Any, x: Tensor) -> Tensor:
        x = m.stem(x)
        gate = torch.sigmoid(m.up(F.relu(m.down(F.adaptive_avg_pool2d(x, 1)))))
        return m.head((x * gate).mean((2, 3)))

    return Lambda(
        forward, stem=conv_bn(3, 8), down=nn.Conv2d(8, 4, 1), up=nn.Conv2d(4, 8, 1), head=nn.Linear(8, 3)
    ), image()


@net
def group_norm() -> Net:
    return nn.Sequential(
        nn.Conv2d(3, 12, 3),
        nn.GroupNorm(4, 12),
        nn.ReLU(),
        nn.Conv2d(12, 6, 3),
        nn.GroupNorm(6, 6),
        nn.SiLU(),
        nn.Conv2d(6, 2, 1),
    ), image()


@net
def instance_norm() -> Net:
    def forward(m: Any, x: Tensor) -> Tensor:
        return m.out(m.slope(F.instance_norm(m.b(m.a(x)))))

    layers = dict(
        a=nn.Sequential(nn.Conv2d(3, 6, 3), nn.InstanceNorm2d(6, affine=True), nn.PReLU(6)),
        b=nn.Conv2d(6, 5, 3),
        slope=nn.PReLU(),
        out=nn.Conv2d(5, 2, 1),
    )
    return Lambda(forward, **layers), image()


@net
def frozen_norm() -> Net:
    def forward(m: Any, x: Tensor) -> Tensor:
        x = m.conv(x)
        scale = m.weight.reshape(1, -1, 1, 1) * (m.running_var.reshape(1, -1, 1, 1) + 1e-5).rsqrt()
        x = x * scale + (m.bias.reshape(1, -1, 1, 1) - m.running_mean.reshape(1, -1, 1, 1) * scale)
        return m.out(F.relu(x)).mean((2, 3))

    model = Lambda(forward, conv=nn.Conv2d(3, 6, 3), out=nn.Conv2d(6, 3, 1))
    for name in ("weight", "bias", "running_mean", "running_var"):
        model.register_buffer(name, torch.rand(6) + 0.2)
    return model, image()


@net
def layer_scale() -> Net:
    def forward(m: Any, x: Tensor) -> Tensor:
        x = m.stem(x)
        y = m.down(F.gelu(m.up(x.permute(0, 2, 3, 1)))) * m.gamma
        return m.head((x + y.permute(0, 3, 1, 2)).mean((-2, -1)))

    model = Lambda(
        forward, stem=conv_bn(3, 6), up=nn.Linear(6, 10), down=nn.Linear(10, 6), head=nn.Linear(6, 2)
    )
    model.gamma = nn.Parameter(torch.rand(6))
    return model, image()


@net
def layer_norm_mlp() -> Net:
    def forward(m: Any, x: Tensor) -> Tensor:
        x = m.embed(x)
        x = x + m.down(F.gelu(m.up(m.norm(x))))
        return m.head(x.mean(1))

    return Lambda(
        forward,
        embed=nn.Linear(12, 8),
        norm=nn.LayerNorm(8),
        up=nn.Linear(8, 16),
        down=nn.Linear(16, 8),
        head=nn.Linear(8, 3),
    ), tokens()


@net
def rms_gated_mlp() -> Net:
    def forward(m: Any, x: Tensor) -> Tensor:
        y = m.norm(x)
        return x + m.down(F.silu(m.gate(y)) * m.up(y))

    return Lambda(
        forward,
        norm=nn.RMSNorm(12),
        gate=nn.Linear(12, 10, bias=False),
        up=nn.Linear(12, 10, bias=False),
        down=nn.Linear(10, 12),
    ), tokens()


@net
def glu() -> Net:
    return nn.Sequential(nn.Linear(12, 16), nn.GLU(), nn.Linear(8, 3)), tokens()


@net
def chunked() -> Net:
    def forward(m: Any, x: Tensor) -> Tensor:
        a, b = m.stem(x).chunk(2, 1)
        return m.out(torch.cat([m.side(a), b], 1)).mean((2, 3))

    return Lambda(forward, stem=conv_bn(3, 12), side=conv_bn(6, 5), out=nn.Conv2d(11, 3, 1)), image()


@net
def shuffled() -> Net:
    def forward(m: Any, x: Tensor) -> Tensor:
        x = m.a(x)
        n, c, h, w = x.shape
        x = x.view(n, 3, c // 3, h, w).transpose(1, 2).reshape(n, c, h, w)
        return m.c(F.channel_shuffle(m.b(x), 2)).mean((2, 3))

    return Lambda(forward, a=conv_bn(3, 12), b=conv_bn(12, 12, groups=12), c=nn.Conv2d(12, 3, 1)), image()


class ShuffleUnit(nn.Module):
    """A unit of ShuffleNetV2 (arXiv:1807.11164): half of the channels pass, all are shuffled behind it."""

    def __init__(self, c_in: int, c_out: int, stride: int):
        super().__init__()
        self.stride, half = stride, c_out // 2
        if stride > 1:
            self.side = nn.Sequential(conv_bn(c_in, c_in, stride=2, groups=c_in), conv_bn(c_in, half, 1))
        inner = c_in if stride > 1 else half
        self.main = nn.Sequential(
            conv_bn(inner, half, 1), conv_bn(half, half, stride=stride, groups=half), conv_bn(half, half, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        a, b = x.chunk(2, 1) if self.stride == 1 else (x, x)
        y = torch.cat([a if self.stride == 1 else self.side(a), self.main(b)], 1)
        n, c, h, w = y.size()
        return y.view(n, 2, c // 2, h, w).transpose(1, 2).contiguous().view(n, c, h, w)


@net
def shuffle_net() -> Net:
    stage = [ShuffleUnit(6, 20, 2), *(ShuffleUnit(20, 20, 1) for _ in range(3))]
    return nn.Sequential(
        conv_bn(3, 6), *stage, conv_bn(20, 12, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, 3)
    ), image()


@net
def pixel_shuffled() -> Net:
    return nn.Sequential(
        nn.Conv2d(3, 24, 3), nn.PixelShuffle(2), nn.Conv2d(6, 4, 3), nn.PixelUnshuffle(2), nn.Conv2d(16, 2, 1)
    ), image()


@net
def stacked() -> Net:
    def forward(m: Any, x: Tensor) -> Tensor:
        branches = torch.stack([m.a(x), m.b(x)], 1)
        attention = torch.softmax(m.gate(branches.sum(1).mean((2, 3))).view(2, 2, 6), 1)
        return m.out((branches * attention[:, :, :, None, None]).sum(1)).mean((2, 3))

    return Lambda(
        forward, a=conv_bn(3, 6), b=conv_bn(3, 6, 1), gate=nn.Linear(6, 12), out=nn.Conv2d(6, 3, 1)
    ), image()


@net
def upsampled() -> Net:
    def forward(m: Any, x: Tensor) -> Tensor:
        low = F.interpolate(m.a(F.avg_pool2d(x, 2)), scale_factor=2, mode="bilinear")
        return m.out(F.interpolate(low + m.b(x), size=(4, 4), mode="nearest"))

    return Lambda(forward, a=conv_bn(3, 6), b=conv_bn(3, 6), out=nn.Conv2d(6, 2, 1)), image()


@net
def normalized_vector() -> Net:
    return Lambda(
        lambda m, x: m.out(F.normalize(m.a(x), dim=-1)), a=nn.Linear(12, 8), out=nn.Linear(8, 3)
    ), tokens()


@net
def linear_inside_heads() -> Net:
    def forward(m: Any, x: Tensor) -> Tensor:
        y = m.inner(torch.relu(m.outer(x).view(2, 5, 4, -1)))
        return m.head(torch.tanh(y).flatten(2))

    return Lambda(forward, outer=nn.Linear(12, 8), inner=nn.Linear(2, 3), head=nn.Linear(12, 2)), tokens()


# ---- attention ----


class Attention(nn.Module):
    """Multi-head self-attention, fused or separate projections, PyTorch's kernel or by hand."""

    def __init__(
        self, width: int, heads: int, *, fused: bool = False, by_hand: bool = False, chunked: bool = False
    ):
        super().__init__()
        self.heads, self.by_hand, self.fused, self.chunked = heads, by_hand, fused, chunked
        self.depth = width // heads
        if fused:
            self.qkv = nn.Linear(width, 3 * width)
        else:
            self.q, self.k, self.v = nn.Linear(width, width), nn.Linear(width, width), nn.Linear(width, width)
        self.proj = nn.Linear(width, width)

    def split(self, x: Tensor) -> tuple[Tensor, ...]:
        n, t, _ = x.shape
        if self.fused and not self.chunked:
            return self.qkv(x).reshape(n, t, 3, self.heads, self.depth).permute(2, 0, 3, 1, 4).unbind(0)
        parts = self.qkv(x).chunk(3, -1) if self.fused else (self.q(x), self.k(x), self.v(x))
        return tuple(p.view(n, t, -1, self.depth).transpose(1, 2) for p in parts)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.split(x)
        if self.by_hand:
            y = torch.softmax(q @ k.transpose(-2, -1) * self.depth**-0.5, -1) @ v
        else:
            y = F.scaled_dot_product_attention(q, k, v)
        return self.proj(y.transpose(1, 2).flatten(2))


def _transformer(attention: nn.Module) -> Net:
    def forward(m: Any, x: Tensor) -> Tensor:
        x = x + m.attention(m.norm(x))
        return m.head((x + m.down(F.gelu(m.up(x)))).mean(1))

    layers = dict(
        attention=attention,
        norm=nn.LayerNorm(12),
        up=nn.Linear(12, 20),
        down=nn.Linear(20, 12),
        head=nn.Linear(12, 3),
    )
    return Lambda(forward, **layers), tokens()


@net
def attention() -> Net:
    return _transformer(Attention(12, 3))


@net
def attention_by_hand() -> Net:
    return _transformer(Attention(12, 3, by_hand=True))


@net
def attention_fused() -> Net:
    return _transformer(Attention(12, 4, fused=True))


@net
def attention_fused_by_hand() -> Net:
    return _transformer(Attention(12, 2, fused=True, by_hand=True))


@net
def attention_chunked() -> Net:
    return _transformer(Attention(12, 4, fused=True, chunked=True))


@net
def attention_module() -> Net:
    def forward(m: Any, x: Tensor) -> Tensor:
        y, _ = m.mha(x, x, x)
        return m.head(y)

    return Lambda(
        forward, mha=nn.MultiheadAttention(12, 3, batch_first=True), head=nn.Linear(12, 3)
    ), tokens()


@net
def attention_normalized_queries() -> Net:
    def forward(m: Any, x: Tensor) -> Tensor:
        q, k, v = (p(x).view(2, 5, 3, 4).transpose(1, 2) for p in (m.q, m.k, m.v))
        angle = torch.arange(5)[:, None] * torch.ones(4)
        q, k = m.norm(q), m.norm(k)
        k = k * angle.cos() + torch.cat([-k[..., 2:], k[..., :2]], -1) * angle.sin()
        return m.proj(F.scaled_dot_product_attention(q * m.scale, k, v).transpose(1, 2).reshape(2, 5, 12))

    model = Lambda(
        forward,
        q=nn.Linear(12, 12),
        k=nn.Linear(12, 12),
        v=nn.Linear(12, 12),
        norm=nn.LayerNorm(4),
        proj=nn.Linear(12, 6),
    )
    model.scale = nn.Parameter(torch.rand(3, 1, 1))
    return model, tokens()


@net
def attention_grouped_queries() -> Net:
    def forward(m: Any, x: Tensor) -> Tensor:
        q = m.q(x).view(2, 5, 4, 3).transpose(1, 2)
        k, v = (p(x).view(2, 5, 2, 3).transpose(1, 2) for p in (m.k, m.v))
        return m.proj(F.scaled_dot_product_attention(q, k, v, enable_gqa=True).transpose(1, 2).flatten(2))

    return Lambda(
        forward, q=nn.Linear(12, 12), k=nn.Linear(12, 6), v=nn.Linear(12, 6), proj=nn.Linear(12, 6)
    ), tokens()


@net
def attention_bias_table() -> Net:
    def forward(m: Any, x: Tensor) -> Tensor:
        q, k, v = m.qkv(x).reshape(2, 5, 3, 3, 4).permute(2, 0, 3, 1, 4)
        bias = m.table[m.where.view(-1)].view(5, 5, -1).permute(2, 0, 1).contiguous()
        y = torch.softmax(q * 0.5 @ k.transpose(-2, -1) + bias.unsqueeze(0), -1) @ v
        return m.proj(y.transpose(1, 2).reshape(2, 5, 12))

    model = Lambda(forward, qkv=nn.Linear(12, 36), proj=nn.Linear(12, 6))
    model.table = nn.Parameter(torch.randn(9, 3))
    model.register_buffer("where", (torch.arange(5)[:, None] - torch.arange(5) + 4))
    return model, tokens()


@net
def cross_channel_products() -> Net:
    def forward(m: Any, x: Tensor) -> Tensor:
        a, b = m.a(x), m.b(x)
        return m.out(torch.einsum("btc,bsc->bts", a, b) @ m.v(x))

    return Lambda(
        forward, a=nn.Linear(12, 8), b=nn.Linear(12, 8), v=nn.Linear(12, 6), out=nn.Linear(6, 3)
    ), tokens()


@net
def embedded_text() -> Net:
    def forward(m: Any, ids: Tensor) -> Tensor:
        x = m.words(ids) + m.places(torch.arange(ids.shape[1]))
        return m.head(torch.tanh(m.mix(x)).amax(1))

    return Lambda(
        forward,
        words=nn.Embedding(11, 8),
        places=nn.Embedding(6, 8),
        mix=nn.Linear(8, 10),
        head=nn.Linear(10, 2),
    ), torch.randint(0, 11, (2, 6))


@net
def matrix_parameter() -> Net:
    def forward(m: Any, x: Tensor) -> Tensor:
        y = torch.addmm(m.b1, x.view(-1, 12), m.w1)
        return torch.relu(y).matmul(m.w2) + m.b2

    model = Lambda(forward)
    for name, shape in {"w1": (12, 8), "b1": (8,), "w2": (8, 3), "b2": (3,)}.items():
        setattr(model, name, nn.Parameter(torch.randn(shape)))
    return model, tokens()


# ---- kept dense ----


@net
def recurrent() -> Net:
    def forward(m: Any, x: Tensor) -> Tensor:
        return m.head(m.gru(torch.relu(m.embed(x)))[0][:, -1])

    return Lambda(
        forward, embed=nn.Linear(12, 6), gru=nn.GRU(6, 8, batch_first=True), head=nn.Linear(8, 3)
    ), tokens()


@net
def weight_normed() -> Net:
    conv = nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 6, 3))
    return nn.Sequential(conv, nn.ReLU(), conv_bn(6, 8), nn.Conv2d(8, 2, 1)), image()


@net
def spectral_normed() -> Net:
    conv = nn.utils.parametrizations.spectral_norm(nn.Conv2d(3, 6, 3))
    return nn.Sequential(conv, nn.ReLU(), conv_bn(6, 8), nn.Conv2d(8, 2, 1)), image()


@net
def unused_head() -> Net:
    def forward(m: Any, x: Tensor) -> Any:
        x = m.stem(x)
        return (m.head(x), m.aux(x)) if m.training else m.head(x)

    return Lambda(
        forward,
        stem=conv_bn(3, 6),
        aux=nn.Conv2d(6, 2, 1),
        head=nn.Sequential(conv_bn(6, 5), nn.Conv2d(5, 2, 1)),
    ), image()


@net
def constant_cuts() -> Net:
    def forward(m: Any, x: Tensor) -> Tensor:
        x = m.stem(x)
        return m.out(torch.cat([m.side(x[:, :4]), x[:, 4:], *x.split([5, 5], 1)], 1))

    return Lambda(forward, stem=conv_bn(3, 10), side=conv_bn(4, 5), out=nn.Conv2d(21, 3, 1)), image()


@net
def running_sum() -> Net:
    return Lambda(
        lambda m, x: m.out(torch.cumsum(m.a(x), -1)), a=nn.Linear(12, 6), out=nn.Linear(6, 2)
    ), tokens()


@net
def gradient_modes() -> Net:
    def forward(m: Any, x: Tensor) -> Tensor:
        with torch.no_grad():
            x = m.a(x)
        with torch.autocast("cpu", enabled=False):
            x = F.relu(m.b(x))
        return m.c(x)

    return Lambda(forward, a=conv_bn(3, 6), b=nn.Conv2d(6, 8, 1), c=nn.Conv2d(8, 2, 1)), image()
