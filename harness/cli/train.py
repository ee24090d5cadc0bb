"""``harness train``."""

from __future__ import annotations

from pathlib import Path

import click

from harness.cli.options import Change, data_dir_option, placing_options


@click.command(
    "train",
    epilog="Examples:  harness train gcn --task synthetic-gnn   |   harness train untrained:resnet18 --task "
    "synthetic-scratch --output resnet18.safetensors",
)
@click.argument("model")
@click.option("--task", required=True, help="A task that trains, such as synthetic-gnn; NAME@VIEW or a YAML file.")
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The checkpoint, FILE.safetensors  [default: in the user's cache, where `harness eval` finds it].",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of weights and order.")
@data_dir_option()
@placing_options
@click.option("--limit", type=click.IntRange(min=1), help="About N samples only.")
@click.option("--set", "changes", multiple=True, type=Change(), help="protocol.params.KEY=VALUE, for this run.")
@click.option("--offline", is_flag=True, help="No network.")
def train_command(
    model: str, *, task: str, output: Path | None, seed: int, changes: tuple[tuple[str, str], ...],
    data_dirs: tuple[Path, ...], **options: object,
) -> None:  # fmt: skip
    """Train MODEL from random weights on a task and write a checkpoint with its provenance.

    Training curves (CSV and PNG) lie in the folder FILE.training beside the checkpoint. An interrupted training goes on
    where it stopped when the same command is run again, epoch by epoch.
    """
    from harness.cli.display import Bars
    from harness.errors import UsageError
    from harness.modelstring import parse_models
    from harness.options import RunOptions
    from harness.plugins import load_registry
    from harness.runner import train

    if output is not None and output.suffix != ".safetensors":
        raise UsageError(f"--output {output}: expected a file name that ends in .safetensors")
    chosen = RunOptions(
        data_dirs=tuple(data_dirs), changes=dict(changes), output=None, seeds=(seed,),
        **options,  # type: ignore[arg-type]
    )  # fmt: skip
    trained = train(parse_models(model), task, chosen, file=output, registry=load_registry(), progress=Bars())
    kept = trained.history[trained.best - 1]
    click.echo(
        f"epoch {trained.best} of {len(trained.history)} kept: macro-F1 {kept['val_f1_macro']:.4f} on the validation "
        f"split (chosen there, so not a score)\nwrote {trained.checkpoint}"
    )
    for path in trained.curves:
        click.echo(f"curves {path}")
