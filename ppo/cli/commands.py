"""The tables of ``run_atari.py``: every command, every option, and which arguments conflict."""

from ppo.cli import inspection, lists, training

COMMANDS = (*training.COMMANDS, *inspection.COMMANDS, *lists.COMMANDS)
OPTIONS = (*training.OPTIONS, *inspection.OPTIONS)
CONFLICTS = (*training.CONFLICTS, *inspection.CONFLICTS)
