"""The command line: what can be done, with which options, and what to write in place of others."""
