"""``harness models``: list, show, check and start models."""

from __future__ import annotations

from pathlib import Path

import click

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
@click.option("--json", "as_json", is_flag=True, help="One JSON card a line.")
def list_models(family: str | None, *, as_json: bool) -> None:
    """List the models that are installed, with the plugin each comes from."""
    from harness.cli.display import plain_table, show
    from harness.hashing import canonical_json
    from harness.plugins import load_registry

    registry = load_registry()
    table = plain_table("model", "family", "dim", "views", "licence", "gated", "from", right=(2,))
    for name in sorted(registry.cards):
        card = registry.cards[name]
        if family and card.family != family:
            continue
        if as_json:
            click.echo(canonical_json(card.model_dump(mode="json")))
            continue
        dim, access = card.output.dim, card.access
        table.add_row(
            name,
            card.family,
            "" if dim is None else str(dim),
            " ".join(card.views),
            access.licence or "",
            "" if access.gated == "no" else access.gated,
            str(registry.origin("model", name)),
        )
    if not as_json:
        show(table)
        schemes = "  ".join(f"{scheme}:…" for scheme in sorted(registry.schemes))
        click.echo(f"\nalso: {schemes}  and untrained:MODEL, the random twin of any model with weights")
    for broken in registry.broken:
        click.echo(f"warning: {broken}", err=True)


@models.command("show", epilog="Example:  harness models show vit-s-16")
@click.argument("model")
@click.option("--json", "as_json", is_flag=True, help="The card as JSON.")
def show_model(model: str, *, as_json: bool) -> None:
    """Show the whole card of a model and where it comes from."""
    import yaml

    from harness.modelstring import parse_models
    from harness.plugins import load_registry
    from harness.results import to_json
    from harness.selection import select_model
    from harness.types import DataContext

    for request in parse_models(model):
        chosen = select_model(load_registry(), request, DataContext())
        value = {**chosen.card.model_dump(mode="json", exclude_none=True), "from": str(chosen.origin)}
        click.echo(to_json(value) if as_json else yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=100))


@models.command("check", epilog="Example:  harness models check untrained:resnet18")
@click.argument("model")
@click.option("--data-dir", "data_dirs", multiple=True, type=click.Path(path_type=Path, file_okay=False))
@click.option("--offline", is_flag=True, help="No network.")
def check_model(model: str, data_dirs: tuple[Path, ...], *, offline: bool) -> None:
    """Run a model on generated samples and check its answers: shape, order, repeatability, batch size, NaN."""
    from harness.checking import check
    from harness.cli.display import plain_table, show
    from harness.modelstring import parse_models
    from harness.options import RunOptions
    from harness.plugins import load_registry

    options = RunOptions(data_dirs=tuple(data_dirs), offline=offline)
    failed = False
    for request in parse_models(model):
        table = plain_table("check", "", "seen", title=str(request))
        for line in check(load_registry(), request, options):
            table.add_row(line.name, "ok" if line.passed else "FAILED", line.seen)
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

    module = name.replace("-", "_").replace(".", "_")
    if not module.isidentifier() or name != name.lower():
        raise UsageError(f"{name!r}: expected lower-case letters, digits and dashes, starting with a letter")
    write_new(Path(name) / "pyproject.toml", _PROJECT.format(name=name, module=module))
    path = write_new(Path(name) / f"{module}.py", _MODULE.format(name=name, module=module))
    click.echo(f"wrote {path}; then: pip install -e {name} && harness models check untrained:{name}")
