"""The command ``zeroloss``: one file for each group of subcommands."""

from .command import main, zeroloss
from .information import info
from .runs import report, resume, run
from .studies import check, reproduce, study
from .sweeps import sweep
from .view import view

__all__ = ["main"]

COMMANDS = (reproduce, check, study, run, resume, sweep, report, view, info)

for command in COMMANDS:
    zeroloss.add_command(command)
