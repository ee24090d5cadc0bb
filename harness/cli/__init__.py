"""The command line: ``harness eval|train|tasks|models|leaderboard|store|doctor``; commands are imported when called."""

from __future__ import annotations

import os
import sys
from importlib import import_module

import click

from harness.errors import HarnessError

OWN = {
    "doctor": ("harness.cli.doctor:doctor", "Show versions, devices, plugins, settings and what is broken."),
    "eval": ("harness.cli.eval:eval_command", "Evaluate models on tasks, baselines beside them."),
    "models": ("harness.cli.models:models", "List, show, check and start models."),
    "store": ("harness.cli.store:store", "List, verify and clean the embedding store."),
    "train": ("harness.cli.train:train_command", "Train a network on a task that trains, and write a checkpoint."),
    "tasks": ("harness.cli.tasks:tasks", "List, show, validate and start tasks."),
}
BY_PLUGIN = {"leaderboard": "Merge results into a leaderboard, show and check it."}
"""Commands of built-in plugins, told here so that ``--help`` need not load a plugin."""
INTERRUPTED = 130


class LazyGroup(click.Group):
    """A group that imports a command when it is called, and asks third-party plugins only if there are any."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return all command names."""
        return sorted({*OWN, *BY_PLUGIN, *self._foreign()})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command."""
        if cmd_name in OWN:
            module, _, attribute = OWN[cmd_name][0].partition(":")
            command: click.Command = getattr(import_module(module), attribute)
            return command
        from harness.plugins import import_object, load_registry

        registry = load_registry()
        if cmd_name not in registry.commands:
            return None
        plugged: click.Command = import_object(
            registry.commands[cmd_name][0], str(registry.origin("command", cmd_name))
        )
        return plugged

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands with their one-line helps."""
        rows = {name: text for name, (_, text) in OWN.items()} | BY_PLUGIN | self._foreign()
        with formatter.section("Commands"):
            formatter.write_dl(sorted(rows.items()))

    def _foreign(self) -> dict[str, str]:
        from importlib.metadata import entry_points

        if not entry_points(group="harness"):
            return {}
        from harness.plugins import load_registry

        return {name: text for name, (_, text) in load_registry().commands.items()}


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog="Example:  harness eval --model pixel-stats,untrained:resnet18 --tasks synthetic-mini --seeds 0",
)
@click.version_option(package_name="bioimage-harness", prog_name="harness")
@click.pass_context
def group(ctx: click.Context) -> None:
    """Evaluate representations of cells and tissue; every score stands beside its shortcut baselines."""
    from harness.settings import load_settings

    values = load_settings().values_for_click()
    shown = {key: values[key] for key in ("data_dirs", "offline") if key in values}
    at_hand = dict.fromkeys(("ls", "show", "check"), shown)
    ctx.default_map = {"eval": values, "tasks": {"show": shown}, "train": shown, "models": at_hand}


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit with the code that ``harness.errors`` gives each failure."""
    try:
        code = group.main(arguments, prog_name="harness", standalone_mode=False)
    except HarnessError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, click.Abort):
        click.echo("interrupted: finished work is kept; run the same command again to go on", err=True)
        sys.exit(INTERRUPTED)
    except BrokenPipeError:  # the reader of our output left, as `| head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except Exception as error:
        if os.environ.get("HARNESS_DEBUG"):
            raise
        click.echo(
            f"internal error: {type(error).__name__}: {error}\n"
            "This is a defect of the harness. Run again with HARNESS_DEBUG=1 and report what it prints.",
            err=True,
        )
        sys.exit(1)
    if isinstance(code, int) and code:  # click returns the code of an Exit instead of raising it
        sys.exit(code)
