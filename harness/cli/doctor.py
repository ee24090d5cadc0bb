"""``harness doctor``."""

from __future__ import annotations

import click


@click.command(epilog="Example:  harness doctor")
def doctor() -> None:
    """Show versions, devices, plugins, settings in force with their origin, and what is broken."""
    from harness.cli.display import plain_table, show
    from harness.options import RunOptions
    from harness.plugins import load_registry
    from harness.provenance import versions
    from harness.settings import KEYS, load_settings, settings_files

    registry, settings = load_registry(), load_settings()
    table = plain_table("library", "version", title="Versions")
    for name, number in versions(["torch", "torchvision", "timm", "h5py", "pydantic", "pluggy"]).items():
        table.add_row(name, number)
    show(table)
    placement = registry.manager.hook.harness_placement(device="auto", dtype="auto", allowed=["float32", "bfloat16"])
    click.echo(f"\nDevice: {placement[0]}, {placement[1]} by the rule of --device auto --dtype auto\n")
    table = plain_table("plugin", "from", title="Plugins")
    for origin in registry.plugins:
        table.add_row(origin.module, str(origin))
    show(table)
    click.echo("")
    defaults = RunOptions()
    table = plain_table("setting", "value", "from", title="Settings")
    for key, name in KEYS.items():
        known = settings.chosen.get(key)
        value = known.value if known else getattr(defaults, name) if name != "store" else defaults.store_root
        table.add_row(key, _say(value), known.origin if known else "default")
    show(table)
    click.echo("settings are read from, weakest first: " + ", ".join(str(path) for path in settings_files()))
    click.echo(f"\nBroken: {len(registry.broken) or 'nothing'}")
    for broken in registry.broken:
        click.echo(f"  {broken}")


def _say(value: object) -> str:
    """Write a value as it would be typed."""
    if isinstance(value, (list, tuple)):
        return ",".join(map(str, value)) or "none"
    return "auto" if value is None else str(value)
