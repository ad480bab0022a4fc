"""The command ``zeroloss``: one file for each group of its words."""

from .command import main, zeroloss
from .information import info
from .reproduce import reproduce

__all__ = ["main"]

COMMANDS = (reproduce, info)

for command in COMMANDS:
    zeroloss.add_command(command)
