"""``harness models``: list, show, check and start models."""

from __future__ import annotations

from pathlib import Path

import click

from harness.cli.options import data_dir_option, placing_options

_PROJECT = """\
[build-system]
requires = ["setuptools>=77"]
build-backend = "setuptools.build_meta"

[project]
name = "harness-{name}"
version = "0.1.0"
dependencies = ["bioimage-harness"]

[project.entry-points.harness]
{module} = "{module}"

[tool.setuptools]
py-modules = ["{module}"]
"""
_MODULE = '''\
"""{name} as a model of the bioimage-harness."""

import harness


@harness.hookimpl
def harness_models():
    """Announce the model; nothing heavy is imported here."""
    return [
        harness.ModelCard(
            name="{name}",
            build="{module}:build",
            family="vit",
            pretrain_domain="natural",
            access={{"licence": "MIT"}},
            input={{"size": 224, "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5], "channel_adapt": "copy"}},
            output={{"stages": {{"last": 0}}, "dim": 384}},
            requires=["torch", "timm"],
        )
    ]


def build(context):
    """Build the network; called only when the model is used."""
    import timm

    network = timm.create_model("vit_small_patch16_224", num_classes=0, in_chans=context.channels)
    return harness.TorchModel(network, context)
'''


@click.group()
def models() -> None:
    """List, show, check and start models."""


@models.command("ls", epilog="Example:  harness models ls --family vit")
@click.option("--family", help="Only this family: vit, cnn, hand-crafted, …")
@click.option("--ready", is_flag=True, help="Only models that run as they are.")
@data_dir_option()
@click.option("--json", "as_json", is_flag=True, help="One JSON card a line.")
def list_models(family: str | None, data_dirs: tuple[Path, ...], *, ready: bool, as_json: bool) -> None:
    """List the models that are installed, whether their weights are at hand, and the plugin each comes from."""
    from harness.cli.display import plain_table, show
    from harness.hashing import cache_root, canonical_json
    from harness.plugins import load_registry
    from harness.types import DataContext, WeightsState

    registry, context = load_registry(), DataContext(tuple(data_dirs), cache_root())
    table = plain_table("model", "family", "dim", "views", "licence", "weights", "from", right=(2,))
    for name in sorted(registry.cards):
        card = registry.cards[name]
        state: WeightsState = registry.manager.hook.harness_weights_state(card=card, context=context)
        if (family and card.family != family) or (ready and not state.ready):
            continue
        if as_json:
            click.echo(canonical_json(card.model_dump(mode="json")))
            continue
        dim, origin = card.output.dim, str(registry.origin("model", name))
        views, licence = " ".join(card.views), card.access.licence or ""
        weights = f"ready: {state.state}" if state.ready else state.state
        table.add_row(name, card.family, "" if dim is None else str(dim), views, licence, weights, origin)
    if not as_json:
        show(table)
        schemes = "  ".join(f"{scheme}:…" for scheme in sorted(registry.schemes))
        click.echo(f"\nalso: {schemes}  and untrained:MODEL, the random twin of any model with weights")
    for broken in registry.broken:
        click.echo(f"warning: {broken}", err=True)


@models.command("show", epilog="Example:  harness models show vit-s-16")
@click.argument("model")
@data_dir_option()
@click.option("--json", "as_json", is_flag=True, help="The card as JSON.")
def show_model(model: str, data_dirs: tuple[Path, ...], *, as_json: bool) -> None:
    """Show the whole card of a model, where it comes from, and whether its weights are at hand."""
    import yaml

    from harness.hashing import cache_root
    from harness.modelstring import parse_models
    from harness.plugins import load_registry
    from harness.results import to_json
    from harness.selection import select_model
    from harness.types import DataContext, WeightsState

    registry, context = load_registry(), DataContext(tuple(data_dirs), cache_root())
    for request in parse_models(model):
        chosen = select_model(registry, request, context)
        state: WeightsState = registry.manager.hook.harness_weights_state(card=chosen.card, context=context)
        value = {
            **chosen.card.model_dump(mode="json", exclude_none=True),
            "from": str(chosen.origin),
            "at_hand": {"ready": state.ready, "state": state.state, "where": state.where},
        }
        spec = chosen.card.weights
        if spec is not None and spec.source.startswith("hf-hub:") and spec.revision is None:
            value["weights"] = {**value["weights"], "revision": None if as_json else "not pinned"}
        click.echo(to_json(value) if as_json else yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=100))


@models.command("check", epilog="Example:  harness models check untrained:resnet18")
@click.argument("model")
@data_dir_option()
@click.option("--task", default="", help="Try it on samples of this task instead of generated ones.")
@click.option("--thorough", is_flag=True, help="Compare number formats however long it takes.")
@placing_options
@click.option("--offline", is_flag=True, help="No network.")
def check_model(
    model: str, data_dirs: tuple[Path, ...], task: str, device: str, dtype: str, *, thorough: bool, offline: bool
) -> None:
    """Try a model: shapes, repeatability, batch size, order, stages, pixels, number formats, seeds.

    Exit code 6 if it breaks the contract; warnings may be meant so.
    """
    from harness.checking import CheckOptions, check
    from harness.cli.display import plain_table, show
    from harness.modelstring import parse_models
    from harness.options import RunOptions
    from harness.plugins import load_registry

    options = RunOptions(data_dirs=tuple(data_dirs), offline=offline, device=device, dtype=dtype)
    failed = False
    for request in parse_models(model):
        table = plain_table("check", "", "seen", "to do", title=str(request))
        for line in check(load_registry(), request, options, CheckOptions(task, thorough)):
            table.add_row(line.name, line.state.upper() if not line.passed else line.state, line.seen, line.advice)
            failed = failed or not line.passed
        show(table)
    if failed:
        raise click.exceptions.Exit(6)


@models.command("new", epilog="Example:  harness models new mylab-vit")
@click.argument("name")
def new_model(name: str) -> None:
    """Write the folder NAME: a plugin package with one working model."""
    from harness.cli.files import write_new
    from harness.errors import UsageError
    from harness.plugins import load_registry

    module = name.replace("-", "_").replace(".", "_")
    if not module.isidentifier() or name != name.lower():
        raise UsageError(f"{name!r}: expected lower-case letters, digits and dashes, starting with a letter")
    registry = load_registry()
    owner = registry.owner(name)
    if owner is not None:
        alias = "" if owner == name else f", an alias of {owner}"
        origin = registry.origin("model", owner)
        raise UsageError(
            f"{name!r} is taken{alias}: registered by {origin.module} ({origin}); choose another name, for example "
            f"mylab-{name}"
        )
    write_new(Path(name) / "pyproject.toml", _PROJECT.format(name=name, module=module))
    path = write_new(Path(name) / f"{module}.py", _MODULE.format(name=name, module=module))
    click.echo(f"wrote {path}; then: pip install -e {name} && harness models check untrained:{name}")
