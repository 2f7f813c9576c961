"""Networks of our own: the small residual networks that He et al. (2016) train on CIFAR.

https://arxiv.org/abs/1512.03385, section 4.2. They differ from the paper's in two points: shortcuts
that change the shape are 1 x 1 convolutions (the paper's option B), and the names registered here
are wider and begin with a stride of two, which suits a CPU better than depth at full size.

Shape suffixes: B images, C channels, H height, W width, D features.
"""

from __future__ import annotations

from torch import Tensor, nn

from rayxkd.errors import UserError, unknown_name

_BLOCKS_A_STAGE = {"small_resnet8": 1, "small_resnet14": 2, "small_resnet20": 3}
NETWORKS = tuple(_BLOCKS_A_STAGE)
# What a card may set. Cards are other people's files: the limits bound the memory they can ask for.
_LIMITS = {"width": (1, 256), "stem_stride": (1, 4), "in_chans": (1, 4)}


class SmallResNet(nn.Module):
    """A residual network of three stages, global average pooling and a linear head.

    Args:
        num_classes: M.
        depth: 6 n + 2 for n blocks a stage: 8, 14, 20, ...
        width: channels of the first stage; the others have two and four times as many.
        stem_stride: stride of the first convolution.
        in_chans: channels of the images.

    Raises:
        ValueError: no such depth.
    """

    def __init__(
        self,
        num_classes: int,
        depth: int = 8,
        width: int = 32,
        stem_stride: int = 2,
        in_chans: int = 3,
    ) -> None:
        super().__init__()
        blocks, rest = divmod(depth - 2, 6)
        if rest or blocks < 1:
            raise ValueError(f"depth must be 8, 14, 20, ..., not {depth}")
        self.stem = nn.Sequential(*_convolution(in_chans, width, 3, stem_stride), nn.ReLU())
        self.stages = nn.Sequential(
            _stage(width, width, blocks, stride=1),
            _stage(width, 2 * width, blocks, stride=2),
            _stage(2 * width, 4 * width, blocks, stride=2),
        )
        self.head = nn.Linear(4 * width, num_classes)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images_BCHW: Tensor) -> Tensor:
        """Logits [B, M] of images of any height and width."""
        maps_BDHW = self.stages(self.stem(images_BCHW))
        logits_BM: Tensor = self.head(maps_BDHW.mean(dim=(2, 3)))
        return logits_BM


class _Block(nn.Module):
    """Two 3 x 3 convolutions beside a shortcut."""

    def __init__(self, in_width: int, width: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *_convolution(in_width, width, 3, stride), nn.ReLU(), *_convolution(width, width, 3, 1)
        )
        same_shape = stride == 1 and in_width == width
        self.shortcut = nn.Sequential(
            *(() if same_shape else _convolution(in_width, width, 1, stride))
        )

    def forward(self, maps_BCHW: Tensor) -> Tensor:
        return nn.functional.relu(self.body(maps_BCHW) + self.shortcut(maps_BCHW))


def create_network(name: str, num_classes: int, **arguments: int) -> SmallResNet:
    """Build one of ``NETWORKS`` with random weights.

    Args:
        name: which one.
        num_classes: M.
        arguments: ``width``, ``stem_stride`` and ``in_chans`` of :class:`SmallResNet`.

    Raises:
        UserError: an unknown name or argument, or an argument outside its limits.
    """
    if name not in _BLOCKS_A_STAGE:
        raise unknown_name("network", name, NETWORKS)
    for argument, value in arguments.items():
        _check_argument(argument, value)
    return SmallResNet(num_classes, depth=6 * _BLOCKS_A_STAGE[name] + 2, **arguments)


def _check_argument(argument: str, value: object) -> None:
    if argument not in _LIMITS:
        raise unknown_name("network argument", argument, _LIMITS)
    least, most = _LIMITS[argument]
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise UserError(f"'{argument}' must be a whole number from {least} to {most}: {value!r}")


def _stage(in_width: int, width: int, blocks: int, stride: int) -> nn.Sequential:
    widths_and_strides = [(in_width, stride), *[(width, 1)] * (blocks - 1)]
    return nn.Sequential(*(_Block(before, width, step) for before, step in widths_and_strides))


def _convolution(in_width: int, width: int, size: int, stride: int) -> tuple[nn.Module, nn.Module]:
    """A convolution that keeps height and width but for its stride, normalised."""
    kind = _Pointwise if size == 1 else nn.Conv2d
    convolution = kind(in_width, width, size, stride, padding=size // 2, bias=False)
    return convolution, nn.BatchNorm2d(width)


class _Pointwise(nn.Conv2d):
    """A 1 x 1 convolution that leaves out what its stride skips before it multiplies.

    The same numbers; but the gradient of a strided one with fewer than eight channels, channels
    last, writes past its memory on CPUs with AVX2 alone (torch 2.15, oneDNN).
    """

    def forward(self, input: Tensor) -> Tensor:
        rows, columns = self.stride
        return nn.functional.conv2d(input[:, :, ::rows, ::columns], self.weight)
