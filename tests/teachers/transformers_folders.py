"""Small networks of transformers, saved as the library saves them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers

NAMES = {0: "daisy", 1: "ragwort", 2: "meadow buttercup"}
# Name of the network, arguments of its configuration, name of its processor, the processor's.
SMALL = {"height": 32, "width": 32}
VIT = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "image_size": 32,
    "patch_size": 8,
}
SWIN = {"image_size": 32, "patch_size": 4, "embed_dim": 8, "depths": [1, 1], "num_heads": [1, 2]}
CONV = {"depths": [1, 1], "hidden_sizes": [8, 16]}
NETWORKS: dict[str, tuple[str, dict[str, Any], str, dict[str, Any]]] = {
    "vit": ("ViT", VIT, "ViT", {"size": SMALL}),
    "deit": ("DeiT", VIT, "DeiT", {"size": {"height": 40, "width": 40}, "crop_size": SMALL}),
    "beit": ("Beit", VIT, "Beit", {"size": SMALL}),
    "swin": ("Swin", SWIN | {"window_size": 4}, "ViT", {"size": SMALL, "resample": 3}),
    "swinv2": ("Swinv2", SWIN | {"window_size": 4}, "ViT", {"size": SMALL}),
    "convnext": (
        "ConvNext",
        CONV | {"num_stages": 2},
        "ConvNext",
        {"size": {"shortest_edge": 32}, "crop_pct": 0.9},
    ),
    "resnet": (
        "ResNet",
        CONV | {"embedding_size": 8, "layer_type": "basic"},
        "ConvNext",
        {"size": {"shortest_edge": 45}},
    ),
    "regnet": (
        "RegNet",
        CONV | {"embedding_size": 8, "groups_width": 8},
        "ConvNext",
        {"size": {"shortest_edge": 32}},
    ),
    "dinov2": (
        "Dinov2",
        VIT,
        "Bit",
        {"size": {"shortest_edge": 40}, "crop_size": SMALL},
    ),
    "mobilenet_v2": (
        "MobileNetV2",
        {"image_size": 32, "depth_multiplier": 0.25},
        "MobileNetV2",
        {"size": {"shortest_edge": 37}, "crop_size": SMALL},
    ),
    "mobilevit": (
        "MobileViT",
        {"image_size": 64, "hidden_sizes": [16, 16, 16], "neck_hidden_sizes": [8] * 7},
        "MobileViT",
        {"size": {"shortest_edge": 70}, "crop_size": {"height": 64, "width": 64}},
    ),
    "levit": (
        "Levit",
        {
            "image_size": 64,
            "hidden_sizes": [16, 16, 16],
            "num_attention_heads": [2, 2, 2],
            "depths": [1, 1, 1],
            "key_dim": [8, 8, 8],
        },
        "Levit",
        {"size": {"shortest_edge": 64}, "crop_size": {"height": 64, "width": 64}},
    ),
    "poolformer": (
        "PoolFormer",
        {"hidden_sizes": [8, 8, 8, 8], "depths": [1, 1, 1, 1]},
        "PoolFormer",
        {"size": {"shortest_edge": 64}, "crop_size": {"height": 64, "width": 64}},
    ),
    "efficientnet": (
        "EfficientNet",
        {
            "image_size": 32,
            "width_coefficient": 0.25,
            "depth_coefficient": 0.1,
            "hidden_dim": 320,
        },
        "EfficientNet",
        {"size": SMALL, "rescale_factor": 1 / 127.5, "rescale_offset": True},
    ),
    "segformer": (
        "Segformer",
        {"hidden_sizes": [8, 8, 8, 8], "depths": [1, 1, 1, 1], "num_attention_heads": [1, 1, 1, 1]},
        "Segformer",
        {"size": {"height": 64, "width": 48}},
    ),
    "siglip": (
        "Siglip",
        {"vision_config": VIT, "text_config": {"hidden_size": 16, "num_hidden_layers": 1}},
        "Siglip",
        {"size": SMALL},
    ),
    "clip": (
        "CLIP",
        {"vision_config": VIT, "text_config": {"hidden_size": 16, "num_hidden_layers": 1}},
        "CLIP",
        {"size": {"shortest_edge": 32}, "crop_size": SMALL},
    ),
}


def write_transformers(
    folder: Path,
    kind: str,
    arguments: dict[str, Any] | None = None,
    processing: dict[str, Any] | None = None,
) -> Path:
    """Save a small network of transformers and its processor, as the library does."""
    network, shape, processor, how = NETWORKS[kind]
    configuration = getattr(transformers, f"{network}Config")(
        **(shape if arguments is None else arguments), id2label=NAMES
    )
    torch.manual_seed(0)
    model = getattr(transformers, f"{network}ForImageClassification")(configuration)
    for parameter in model.parameters():  # heads that begin at zero would tell nothing
        torch.nn.init.normal_(parameter, std=0.1)
    model.save_pretrained(folder)
    processing = how if processing is None else processing
    getattr(transformers, f"{processor}ImageProcessorPil")(**processing).save_pretrained(folder)
    return folder
