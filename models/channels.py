"""First layers for any number of channels."""

from __future__ import annotations

from torch import Tensor, nn

from harness.cards import ModelCard
from harness.errors import MismatchError
from harness.types import BuildContext


def built_channels(context: BuildContext) -> int:
    """Return the number of channels a network is constructed with, before any adaptation.

    A random twin is drawn for the channels of its images (``untrained.channels: native``), unless the card or the
    option ``channel_adapt`` asks for the trained network's rule.
    """
    takes = context.card.input.channels
    rule = context.options.get("channel_adapt", "native")
    native = context.untrained and context.card.untrained.channels == "native" and rule == "native"
    return context.channels if native or takes == "any" else takes


def adapt_filters(weight: Tensor, channels: int, rule: str) -> Tensor:
    """Make filters for ``channels`` input channels from filters for fewer or more.

    Args:
        weight: (filters, c, height, width) float32 of a convolution.
        channels: n, the wanted number of input channels.
        rule: ``copy`` repeats the filters in turn, ``w[:, i mod c]``; ``timm`` also scales them by c / n, and sums
            over all c for n = 1, so that n equal channels give what c equal channels gave.

    Returns:
        (filters, n, height, width).

    Source:
        timm's ``adapt_input_conv`` for the values of ``timm``.

    Example:
        >>> import torch
        >>> adapt_filters(torch.ones(1, 3, 1, 1), 6, "timm").flatten().tolist()
        [0.5, 0.5, 0.5, 0.5, 0.5, 0.5]
    """
    given = weight.shape[1]
    if rule == "timm" and channels == 1:
        return weight.sum(dim=1, keepdim=True)
    repeated = weight[:, [channel % given for channel in range(channels)]]
    return repeated * (given / channels) if rule == "timm" else repeated


def fit_channels(module: nn.Module, card: ModelCard, channels: int, rule: str) -> None:
    """Adapt the first convolution of a network in place; nothing happens where it fits already.

    Args:
        module: a network whose input goes through its first convolution, in order of definition.
        card: its card; one that takes ``any`` number of channels is left alone.
        channels: channels of the images.
        rule: ``timm`` or ``copy``; ``native`` and ``none`` allow no adaptation.

    Raises:
        MismatchError: there is no rule, or the first layer is not an ordinary convolution.
    """
    first = next((part for part in module.modules() if isinstance(part, (nn.Conv2d, nn.Linear))), None)
    takes = first.in_channels if isinstance(first, nn.Conv2d) else card.input.channels
    if channels == takes or card.input.channels == "any":
        return
    if rule not in ("timm", "copy") or not isinstance(first, nn.Conv2d) or first.groups != 1:
        raise MismatchError(
            f"{card.name}: images have {channels} channels, the network takes {takes} and cannot be adapted "
            f"(input.channel_adapt: {rule}; copy and timm adapt a first layer that is a convolution)"
        )
    adapted = adapt_filters(first.weight.detach(), channels, rule)
    first.weight = nn.Parameter(adapted.contiguous(), requires_grad=False)
    first.in_channels = channels
