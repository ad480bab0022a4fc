"""``zeroloss info``: the build that computes results."""

from __future__ import annotations

import click

from ..provenance import build_info


@click.command()
def info() -> None:
    """Show versions, compiler, instruction-set level and threads."""
    for name, value in build_info().items():
        click.echo(f"{name.replace('_', ' '):<16} {', '.join(value) if isinstance(value, list) else value}")
