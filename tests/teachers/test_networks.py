from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from rayxkd.errors import UserError
from rayxkd.status import Status
from rayxkd.teachers import RejectedCard, TeacherError, open_repositories, predict
from rayxkd.teachers.networks import NETWORKS, SmallResNet, create_network
from rayxkd.teachers.teacher import ModuleTeacher
from tests.teachers.folders import (
    assert_close,
    assert_head_explains_logits,
    load,
    pixels_of,
    preprocessing,
    write_card,
    write_weights,
)

CARD = {"library_name": "rayxkd", "architecture": "small_resnet8", "num_classes": 5}


def parameters(network: nn.Module) -> int:
    return sum(values.numel() for values in network.parameters())


@pytest.mark.parametrize(("depth", "count"), [(8, 78_042), (14, 175_258), (20, 272_474)])
def test_parameters_are_those_of_the_paper(depth, count):
    """He et al. give 0.27 million for 20 layers and ten classes, with shortcuts of their option A;
    ours have (16 * 32 + 32 * 64) weights and 2 * (32 + 64) numbers of normalisation more."""
    network = SmallResNet(10, depth, width=16, stem_stride=1)
    assert parameters(network) == count
    shortcuts = 16 * 32 + 32 * 64 + 2 * (32 + 64)
    if depth == 20:
        assert round((count - shortcuts) / 1e6, 2) == 0.27


@pytest.mark.parametrize(("name", "layers"), [("8", 8), ("14", 14), ("20", 20)])
def test_the_name_counts_the_layers(name, layers):
    network = create_network(f"small_resnet{name}", 7)
    on_the_way = [
        layer
        for path, layer in network.named_modules()
        if isinstance(layer, nn.Conv2d | nn.Linear) and "shortcut" not in path
    ]
    assert len(on_the_way) == layers
    assert network.stem[0].stride == (2, 2)
    assert network.head.in_features == 4 * 32


@pytest.mark.parametrize("size", [(1, 1), (5, 9), (32, 32), (33, 64)])
def test_any_size_of_image_gives_logits(size):
    network = create_network("small_resnet8", 3, width=4, in_chans=1).eval()
    assert network(torch.randn(2, 1, *size)).shape == (2, 3)


def test_stages_halve_the_image_and_double_the_width():
    network = SmallResNet(3, width=4, stem_stride=1)
    maps = network.stem(torch.randn(2, 3, 16, 16))
    shapes = [maps.shape[1:]]
    for stage in network.stages:
        maps = stage(maps)
        shapes.append(maps.shape[1:])
    assert shapes == [(4, 16, 16), (4, 16, 16), (8, 8, 8), (16, 4, 4)]


def test_a_block_without_weights_hands_its_input_on():
    network = SmallResNet(3, width=4)
    block = network.stages[0][0]
    nn.init.zeros_(block.body[-1].weight)
    maps = torch.rand(2, 4, 6, 6)
    torch.testing.assert_close(block(maps), maps)


def test_one_seed_gives_one_network():
    networks = []
    for _ in range(2):
        torch.manual_seed(3)
        networks.append(create_network("small_resnet8", 3))
    first, second = (network.state_dict() for network in networks)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_an_unknown_name_is_told_with_the_known_ones():
    with pytest.raises(UserError, match=r"unknown network 'small_resnet9': did you mean 'small_re"):
        create_network("small_resnet9", 3)


@pytest.mark.parametrize("depth", [2, 7, 9, 18])
def test_no_network_has_another_depth(depth):
    with pytest.raises(ValueError, match="depth must be 8, 14, 20"):
        SmallResNet(3, depth)


# As teachers


@pytest.mark.parametrize("name", NETWORKS)
@torch.inference_mode()
def test_a_folder_of_it_is_a_teacher(name, tmp_path):
    torch.manual_seed(0)
    network = create_network(name, 5, width=8, stem_stride=1).eval()
    card = CARD | {"architecture": name, "model_args": {"width": 8, "stem_stride": 1}}
    write_card(tmp_path, **card, pretrained_cfg=preprocessing(16))
    teacher = load(write_weights(tmp_path, network))
    assert isinstance(teacher, ModuleTeacher)
    assert teacher.parameters == parameters(network)
    pixels = pixels_of(6)
    predictions = predict(teacher, pixels)
    images = pixels.batch(teacher.card.preprocessing, slice(None))
    assert_close(predictions.logits_NK, network(images))
    assert_close(predictions.features_ND, network.stages(network.stem(images)).mean(dim=(2, 3)))
    assert_head_explains_logits(predictions, network.head.bias)


def test_a_grey_one_sees_grey(tmp_path):
    network = create_network("small_resnet8", 5, in_chans=1)
    card = CARD | {"model_args": {"in_chans": 1}, "pretrained_cfg": preprocessing(16, channels=1)}
    write_card(tmp_path, **card)
    assert predict(load(write_weights(tmp_path, network)), pixels_of(3)).num_classes == 5


def refusal(folder: Path, **entries: object) -> TeacherError:
    write_card(folder, **CARD | entries, pretrained_cfg=preprocessing(16))
    write_weights(folder, create_network("small_resnet8", 5))
    with pytest.raises(TeacherError) as caught:
        load(folder)
    return caught.value


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"width": 0}, "'width' must be a whole number from 1 to 256: 0"),
        ({"width": 257}, "from 1 to 256"),
        ({"width": 10**9}, "from 1 to 256"),
        ({"width": 32.0}, "from 1 to 256"),
        ({"width": True}, "from 1 to 256"),
        ({"width": "32"}, "from 1 to 256"),
        ({"stem_stride": 5}, "from 1 to 4"),
        ({"stem_stride": [2, 2]}, "from 1 to 4"),
        ({"in_chans": -1}, "from 1 to 4"),
        ({"depth": 2000}, "unknown network argument 'depth'"),
        ({"name": "small_resnet20"}, "cannot be built from its card"),
    ],
)
def test_arguments_of_a_card_have_limits(arguments, reason, tmp_path):
    error = refusal(tmp_path, model_args=arguments)
    assert error.status is Status.INVALID
    assert reason in error.reason
    assert "small_resnet8 cannot be built from its card" in error.reason


def test_a_card_cannot_set_its_classes_twice(tmp_path):
    assert refusal(tmp_path, model_args={"num_classes": 5}).status is Status.UNTRUSTED


def test_weights_of_another_width_do_not_fit(tmp_path):
    error = refusal(tmp_path, model_args={"width": 16})
    assert error.status is Status.INVALID
    assert "the weights do not fit the architecture" in error.reason


@pytest.mark.parametrize("name", ["small_resnet9", "../small_resnet8", "resnet18", ""])
def test_an_unknown_architecture_is_unsupported(name, tmp_path):
    error = refusal(tmp_path, architecture=name)
    assert error.status is Status.UNSUPPORTED
    assert "unknown architecture of rayxkd" in error.reason


def test_a_card_without_architecture_is_invalid(tmp_path):
    write_card(tmp_path, library_name="rayxkd", num_classes=5)
    write_weights(tmp_path, create_network("small_resnet8", 5))
    (card,) = open_repositories([str(tmp_path)])[0].cards()
    assert isinstance(card, RejectedCard)
    assert card.reason == "config.json names no 'architecture'"


def test_a_shortcut_that_skips_is_a_strided_convolution() -> None:
    network = create_network("small_resnet8", 3, width=4)
    shortcut = network.stages[1][0].shortcut[0]  # type: ignore[index]
    images = torch.randn(5, 4, 15, 16).to(memory_format=torch.channels_last)
    wanted = torch.nn.functional.conv2d(images, shortcut.weight, stride=2)
    torch.testing.assert_close(shortcut(images), wanted)
