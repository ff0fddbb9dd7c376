"""The zoo: real network definitions with random weights, and small inputs for them.

Needs torchvision, timm and transformers. Where torchvision's compiled ops do not load beside the installed
torch, `ZOO_SHIM` (a Python file that makes its definitions importable) is run first.
"""

import importlib
import importlib.util
import os
import sys
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

CLASSES = 10
SHIM = Path(os.environ.get("ZOO_SHIM", Path(__file__).parents[2] / "shared" / "tools" / "torchvision_cpu.py"))


@dataclass(frozen=True)
class Entry:
    """One network of the zoo.

    Attributes:
        name: The name under which its library knows it.
        library: "torchvision", "timm" or "transformers".
        make: Builds it with random weights.
        inputs: Builds example inputs, as `autoprune.trace` takes them.
        convolutional: Whether it is made of convolutions and normalizes channel by channel: no attention, no
            layer normalization, whose residual stream is inexact to prune.
        fast: Whether it belongs to the subset that the tests run.
    """

    name: str
    library: str
    make: Callable[[], nn.Module]
    inputs: Callable[[], Any]
    convolutional: bool = True
    fast: bool = False

    @property
    def key(self) -> str:
        """Unique in the whole zoo."""
        return f"{self.library}-{self.name}"


@dataclass(frozen=True)
class _Row:
    """An entry of torchvision or timm: the side of its images and the arguments of its constructor."""

    name: str
    side: int = 64
    convolutional: bool = True
    fast: bool = False
    settings: Mapping[str, Any] = field(default_factory=dict)


def _mixing(name: str, side: int = 64, fast: bool = False, **settings: Any) -> _Row:
    """With attention, or layer normalization over the channels."""
    return _Row(name, side, False, fast, settings)


# Of these, torchvision's named variants are large; the classes are the same.
_VIT = {"image_size": 64, "patch_size": 16, "num_layers": 3, "num_heads": 4, "hidden_dim": 96, "mlp_dim": 192}
_SWIN = {"patch_size": [4, 4], "embed_dim": 24, "depths": [2, 2], "num_heads": [2, 4], "window_size": [8, 8]}

_MAXVIT = {"input_size": (64, 64), "stem_channels": 16, "partition_size": 4, "head_dim": 8}
_MAXVIT |= {"block_channels": [16, 32], "block_layers": [2, 2], "stochastic_depth_prob": 0.1}

TORCHVISION = (
    _Row("alexnet"),
    _Row("vgg11", 32),
    _Row("vgg11_bn", 32),
    _Row("resnet18"),
    _Row("resnet50"),
    _Row("resnext50_32x4d"),
    _Row("wide_resnet50_2"),
    _Row("densenet121"),
    _Row("squeezenet1_1"),
    _Row("mobilenet_v2"),
    _Row("mobilenet_v3_small", fast=True),
    _Row("mnasnet0_5"),
    _Row("shufflenet_v2_x0_5", fast=True),
    _Row("efficientnet_b0"),
    _Row("efficientnet_v2_s"),
    _Row("regnet_x_400mf"),
    _Row("regnet_y_400mf"),
    _mixing("convnext_tiny"),
    _Row("googlenet", 96, settings={"aux_logits": False, "init_weights": False}),
    _Row("inception_v3", 96, settings={"aux_logits": False, "init_weights": False}),
    _mixing("VisionTransformer", **_VIT),
    _mixing("SwinTransformer", **_SWIN),
    _mixing("SwinTransformerV2", **_SWIN),
    _mixing("MaxVit", **_MAXVIT),
)

TIMM = (
    _Row("resnet26"),
    _Row("resnet50d"),
    _Row("seresnet50"),
    _Row("ecaresnet26t"),
    _Row("resnetv2_50"),
    _Row("test_resnet", fast=True),
    _Row("res2net50d"),
    _Row("resnest14d"),
    _Row("skresnet18"),
    _Row("selecsls42"),
    _Row("legacy_seresnet18"),
    _Row("dla34"),
    _Row("dpn48b"),
    _Row("densenet121"),
    _mixing("rdnet_tiny"),
    _Row("cspresnet50"),
    _Row("darknet17"),
    _Row("cspnext_tiny"),
    _Row("vovnet39a"),
    _Row("ese_vovnet19b_slim"),
    _Row("hrnet_w18_small"),
    _Row("hgnetv2_b0"),
    _Row("repvgg_a0"),
    _Row("gernet_s"),
    _Row("regnetx_002", fast=True),
    _Row("regnety_002"),
    _Row("test_nfnet"),
    _Row("tinynet_e"),
    _Row("efficientnet_b0"),
    _Row("test_efficientnet", fast=True),
    _Row("mixnet_s"),
    _Row("mobilenetv3_small_050"),
    _Row("lcnet_035"),
    _Row("lcnetv2_small"),
    _Row("hardcorenas_a"),
    _Row("fbnetv3_b"),
    _Row("ghostnet_050"),
    _Row("repghostnet_050"),
    _Row("rexnet_100"),
    _Row("inception_v3", 96),
    _Row("inception_v4", 96),
    _Row("inception_resnet_v2", 96),
    _Row("legacy_xception"),
    _Row("xception41"),
    _Row("nasnetalarge", 96, settings={"num_features": 960, "stem_size": 32}),
    _Row("tresnet_m"),
    _mixing("convnext_atto"),
    _Row("convmixer_768_32"),
    _Row("inception_next_atto"),
    _Row("fasternet_t0"),
    _Row("starnet_s050"),
    _mixing("mambaout_femto"),
    _Row("repvit_m0_9"),
    _mixing("focalnet_tiny_srf"),
    _mixing("convformer_s18"),
    _Row("mobilenetv4_conv_small_035"),
    _mixing("mobilevit_xxs"),
    _mixing("mobilevitv2_050"),
    _mixing("edgenext_xx_small"),
    _mixing("efficientvit_b0"),
    _mixing("efficientvit_m0", 224),
    _mixing("efficientformer_l1", 224),
    _mixing("efficientformerv2_s0", 224),
    _mixing("fastvit_t8"),
    _mixing("poolformer_s12"),
    _mixing("halonet26t", 256),
    _mixing("botnet26t_256", 256),
    _mixing("coatnet_nano_rw_224", 224),
    _mixing("levit_128s", 224),
    _mixing("test_vit", 64, fast=True, img_size=64),
    _mixing("vit_tiny_patch16_224", 64, img_size=64, depth=3),
    _mixing("deit_tiny_patch16_224", 64, img_size=64, depth=3),
    _mixing("cait_xxs24_224", 64, img_size=64, depth=3),
    _mixing("beit_base_patch16_224", 64, img_size=64, depth=3, embed_dim=96, num_heads=4),
    _mixing("eva02_tiny_patch14_224", 56, img_size=56, depth=3),
    _mixing("swin_tiny_patch4_window7_224", 224, depths=(2, 2), num_heads=(3, 6), embed_dim=48),
    _mixing("swinv2_tiny_window8_256", 256, depths=(2, 2), num_heads=(3, 6), embed_dim=48),
    _mixing("mixer_s16_224", 64, img_size=64),
    _mixing("gmlp_ti16_224", 64, img_size=64),
    _mixing("resmlp_12_224", 64, img_size=64),
    _mixing("pit_ti_224", 224),
    _mixing("tnt_s_patch16_224", 64, img_size=64, depth=3),
    _mixing("twins_svt_small", 64, img_size=64),
    _mixing("pvt_v2_b0"),
    _mixing("poolformerv2_s12"),
    _mixing("caformer_s18"),
    _mixing("xcit_nano_12_p16_224", 64, depth=3),
    _mixing("nest_tiny", 224),
    _mixing("visformer_tiny", 224),
    _mixing("hiera_tiny_224", 224),
    _mixing("crossvit_tiny_240", 240),
    _mixing("davit_tiny"),
    _mixing("gcvit_xxtiny", 224),
    _mixing("mvitv2_tiny", 64, img_size=64),
    _mixing("tiny_vit_5m_224", 224),
    _mixing("volo_d1_224", 64, img_size=64),
    _mixing("sequencer2d_s", 64, img_size=64),
)


def load(library: str) -> None:
    """Import a library of the zoo.

    Raises:
        ImportError: It is missing, or torchvision's compiled ops do not load and there is no `SHIM`.
    """
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    if SHIM.exists() and _SHIM_NAME not in sys.modules:
        spec = importlib.util.spec_from_file_location(_SHIM_NAME, SHIM)
        assert spec is not None and spec.loader is not None
        sys.modules[_SHIM_NAME] = module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            importlib.import_module(library)
            if importlib.util.find_spec("torchvision") is not None:
                importlib.import_module("torchvision")  # the others import it where it is there
    except RuntimeError as error:
        raise ImportError(f"torchvision cannot be imported beside this torch: {error}") from error


_SHIM_NAME = "_zoo_shim"


def image(side: int) -> torch.Tensor:
    """One image of noise, (1, 3, side, side)."""
    return torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(0))


def tokens(length: int = 12, vocabulary: int = 60) -> torch.Tensor:
    """One sentence, (1, length)."""
    return torch.randint(0, vocabulary, (1, length), generator=torch.Generator().manual_seed(0))


def _torchvision(row: _Row) -> nn.Module:
    from torchvision.models import MaxVit, VisionTransformer, get_model
    from torchvision.models import swin_transformer as swin

    second = {"block": swin.SwinTransformerBlockV2, "downsample_layer": swin.PatchMergingV2}
    classes = {
        "VisionTransformer": VisionTransformer,
        "MaxVit": MaxVit,
        "SwinTransformer": swin.SwinTransformer,
        "SwinTransformerV2": partial(swin.SwinTransformer, **second),
    }
    make = classes.get(row.name, partial(get_model, row.name))
    return make(num_classes=CLASSES, **row.settings)


def _timm(row: _Row) -> nn.Module:
    import timm

    return timm.create_model(row.name, pretrained=False, num_classes=CLASSES, **row.settings)


def _transformer(config: str, model: str, settings: Mapping[str, Any]) -> nn.Module:
    import transformers

    return getattr(transformers, model)(getattr(transformers, config)(**settings))


_SMALL = {"hidden_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 96}
_TEXT = {**_SMALL, "vocab_size": 60, "num_labels": CLASSES}
_VISION = {**_SMALL, "image_size": 64, "patch_size": 16, "num_labels": CLASSES}
_PAIR = {"vocab_size": 60, "d_model": 48, "encoder_layers": 2, "decoder_layers": 2, "pad_token_id": 0}
_PAIR |= {"encoder_attention_heads": 4, "decoder_attention_heads": 4}
_PAIR |= {"encoder_ffn_dim": 96, "decoder_ffn_dim": 96, "bos_token_id": 1, "eos_token_id": 2}
_PAIR |= {"decoder_start_token_id": 1}

TRANSFORMERS: Mapping[str, tuple[str, str, Mapping[str, Any], Callable[[], Any]]] = {
    "BERT": (
        "BertConfig",
        "BertForSequenceClassification",
        _TEXT,
        lambda: {"input_ids": tokens(), "attention_mask": torch.ones(1, 12, dtype=torch.int64)},
    ),
    "RoBERTa": ("RobertaConfig", "RobertaForSequenceClassification", _TEXT, lambda: {"input_ids": tokens()}),
    "ELECTRA": ("ElectraConfig", "ElectraForMaskedLM", _TEXT, lambda: {"input_ids": tokens()}),
    "DistilBERT": (
        "DistilBertConfig",
        "DistilBertForSequenceClassification",
        {"dim": 48, "n_layers": 3, "n_heads": 4, "hidden_dim": 96, "vocab_size": 60, "num_labels": CLASSES},
        lambda: {"input_ids": tokens()},
    ),
    "GPT-2": (
        "GPT2Config",
        "GPT2LMHeadModel",
        {"vocab_size": 60, "n_positions": 32, "n_embd": 48, "n_layer": 3, "n_head": 4, "use_cache": False}
        | {"bos_token_id": 1, "eos_token_id": 2},
        lambda: {"input_ids": tokens()},
    ),
    "LLaMA": (
        "LlamaConfig",
        "LlamaForCausalLM",
        {**_SMALL, "vocab_size": 60, "num_key_value_heads": 2, "use_cache": False},
        lambda: {"input_ids": tokens()},
    ),
    "T5": (
        "T5Config",
        "T5ForConditionalGeneration",
        {"vocab_size": 60, "d_model": 48, "d_kv": 12, "d_ff": 96, "num_layers": 2, "num_heads": 4}
        | {"use_cache": False, "decoder_start_token_id": 0},
        lambda: {"input_ids": tokens(), "decoder_input_ids": tokens(6)},
    ),
    "BART": (
        "BartConfig",
        "BartForConditionalGeneration",
        {**_PAIR, "max_position_embeddings": 64, "use_cache": False},
        lambda: {"input_ids": tokens(), "decoder_input_ids": tokens(6)},
    ),
    "Whisper": (
        "WhisperConfig",
        "WhisperForConditionalGeneration",
        {**_PAIR, "num_mel_bins": 16, "max_source_positions": 20, "max_target_positions": 16}
        | {"use_cache": False},
        lambda: {"input_features": torch.randn(1, 16, 40), "decoder_input_ids": tokens(6)},
    ),
    "ViT": ("ViTConfig", "ViTForImageClassification", _VISION, lambda: {"pixel_values": image(64)}),
    "DeiT": ("DeiTConfig", "DeiTForImageClassification", _VISION, lambda: {"pixel_values": image(64)}),
    "Swin": (
        "SwinConfig",
        "SwinForImageClassification",
        {"image_size": 56, "patch_size": 2, "embed_dim": 16, "depths": [2, 2], "num_heads": [2, 4]}
        | {"window_size": 7, "num_labels": CLASSES},
        lambda: {"pixel_values": image(56)},
    ),
    "ConvNeXt": (
        "ConvNextConfig",
        "ConvNextForImageClassification",
        {"hidden_sizes": [16, 32, 48, 64], "depths": [1, 1, 2, 1], "num_labels": CLASSES},
        lambda: {"pixel_values": image(64)},
    ),
    "SegFormer": (
        "SegformerConfig",
        "SegformerForImageClassification",
        {"hidden_sizes": [16, 32, 48, 64], "depths": [1, 1, 1, 1], "num_labels": CLASSES},
        lambda: {"pixel_values": image(64)},
    ),
    "CLIP": (
        "CLIPVisionConfig",
        "CLIPVisionModelWithProjection",
        {**_SMALL, "image_size": 64, "patch_size": 16, "projection_dim": 24},
        lambda: {"pixel_values": image(64)},
    ),
    "wav2vec2": (
        "Wav2Vec2Config",
        "Wav2Vec2ForSequenceClassification",
        {**_SMALL, "conv_dim": [16] * 7, "num_labels": CLASSES, "classifier_proj_size": 24}
        | {"apply_spec_augment": False},
        lambda: {"input_values": torch.randn(1, 2000)},
    ),
}
_FAST = {"DistilBERT", "GPT-2", "T5"}


def entries() -> tuple[Entry, ...]:
    """The whole zoo; nothing is built yet."""
    found = []
    for library, make, rows in (("torchvision", _torchvision, TORCHVISION), ("timm", _timm, TIMM)):
        for row in rows:
            inputs = partial(image, row.side)
            found.append(Entry(row.name, library, partial(make, row), inputs, row.convolutional, row.fast))
    for name, (config, model, settings, inputs_of) in TRANSFORMERS.items():
        build = partial(_transformer, config, model, settings)
        found.append(Entry(name, "transformers", build, inputs_of, False, name in _FAST))
    return tuple(found)
