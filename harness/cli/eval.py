"""``harness eval``."""

from __future__ import annotations

from pathlib import Path

import click

from harness.cli.options import BatchSize, Change, Seeds, Share, data_dir_option, placing_options


@click.command(
    "eval",
    epilog="Examples:  harness eval --model pixel-stats,untrained:resnet18 --tasks synthetic-mini --seeds 0"
    "   |   harness eval --model vit-s-16 --tasks hest --data-dir mirror --stages all --baselines all",
)
@click.option("--model", required=True, metavar="M[,M…]", help="Model strings: NAME, untrained:NAME, timm:ARCH, …")
@click.option("--tasks", required=True, metavar="T[,T…]", help="Names, globs, groups, tags or YAML files; NAME@VIEW.")
@data_dir_option()
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    default=Path("results"),
    show_default=True,
    help="Folder for result files.",
)
@click.option("--store", default="", help="Folder or URL of the embedding store  [default: the user's cache].")
@click.option("--stages", default="last", show_default=True, help="last, all or names separated by commas.")
@click.option("--baselines", default="cheap", show_default=True, help="cheap, all, none or model strings.")
@click.option("--seeds", type=Seeds(), default="0,1,2", show_default=True, help="Seeds of models drawn at random.")
@placing_options
@click.option("--batch-size", type=BatchSize(), default="auto", show_default=True, help="Samples a call of the model.")
@click.option("--compile", is_flag=True, help="Run networks through torch.compile; pays for many samples.")
@click.option("--limit", type=click.IntRange(min=1), help="About N samples only; the result is marked partial.")
@click.option("--set", "changes", multiple=True, type=Change(), help="protocol.params.KEY=VALUE, for this run.")
@click.option("--diagnostics", default="default", show_default=True, help="default, none or names.")
@click.option("--keep-data", is_flag=True, help="Keep streamed files.")
@click.option("--offline", is_flag=True, help="No network.")
@click.option("--executor", type=click.Choice(["local"]), default="local", show_default=True)
@click.option("--shard", "share", type=Share(), help="Embed only this part of the store's shards; write no result.")
@click.option("--json", "as_json", is_flag=True, help="One result object a line on stdout and nothing else.")
def eval_command(
    model: str, tasks: str, changes: tuple[tuple[str, str], ...], data_dirs: tuple[Path, ...], *, as_json: bool,
    **options: object,
) -> None:  # fmt: skip
    """Evaluate models on tasks; what does not fit is skipped with its reason, what fails does not stop the rest.

    Every result is written to OUTPUT/<task>/<model>.json as soon as it is known. Running the same command again
    embeds nothing that the store holds already.
    """
    from harness.cli.display import Bars
    from harness.cli.report import print_report
    from harness.hashing import canonical_json
    from harness.modelstring import parse_models
    from harness.options import RunOptions
    from harness.plugins import load_registry
    from harness.results import Result
    from harness.runner import run

    bars, registry = Bars(), load_registry()
    for broken in registry.broken:
        bars.warn(str(broken))

    def done(result: Result) -> None:
        if as_json:
            click.echo(canonical_json(result.model_dump(mode="json")))

    chosen = RunOptions(data_dirs=tuple(data_dirs), changes=dict(changes), **options)  # type: ignore[arg-type]
    report = run(parse_models(model), tasks, chosen, registry=registry, progress=bars, done=done)
    print_report(registry, report, tables=not as_json)
    if report.failures:
        raise click.exceptions.Exit(report.failures[0][1].exit_code)
