"""The files of a run: its folder, its log, the names of its scalars, videos."""
