"""The command line: commands, options, and suggestions for unknown arguments."""
