"""How and where a model is built: transform, channels, device, dtype."""

from __future__ import annotations

from collections.abc import Callable

from harness.cards import InputTransform
from harness.errors import HarnessError, PluginError, SpecError
from harness.options import RunOptions
from harness.plugins import Registry, import_object
from harness.selection import RequestedModel
from harness.specs import TaskInput
from harness.types import BuildContext, Model


def place_model(
    registry: Registry,
    model: RequestedModel,
    view: str,
    given: TaskInput,
    options: RunOptions,
) -> BuildContext:
    """Say how a model is to be built.

    Args:
        registry: plugins; one of them knows the devices.
        model: the model.
        view: the view it will be given.
        given: the task's input block: channels, and fields of the card's transform that it overrides.
        options: device, dtype, data folders.

    Raises:
        SpecError: the task overrides a field that a transform does not have.
        UsageError: the device is absent, or the card does not allow the dtype.
    """
    card = model.card
    device, dtype = "cpu", "float32"
    if "torch" in card.requires:
        found = registry.manager.hook.harness_placement(
            device=options.device, dtype=options.dtype, allowed=list(card.dtypes)
        )
        device, dtype = found or (device, dtype)
    try:
        transform = InputTransform.model_validate({**card.input.model_dump(), **given.override})
    except ValueError as error:
        raise SpecError(f"input.override of the task: {error}") from None
    return BuildContext(
        card=card,
        untrained=model.random,
        view=view,
        channels=0 if view in ("points", "profiles") else given.channels,
        transform=transform,
        options=model.request.options,
        device=device,
        dtype=dtype,
        data_dirs=options.data_dirs,
        cache=options.data_context.cache,
        offline=options.offline,
        compile=options.compile,
    )


def build_model(model: RequestedModel, context: BuildContext) -> Model:
    """Build a model.

    Raises:
        PluginError: its builder fails.
    """
    builder: Callable[[BuildContext], Model] = import_object(context.card.build, str(model.origin))
    try:
        return builder(context)
    except HarnessError:
        raise
    except Exception as error:
        who = f"{model.request} ({model.origin})"
        raise PluginError(f"{who} cannot be built: {type(error).__name__}: {error}") from error
