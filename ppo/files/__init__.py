"""The files of a run: folder, atomic writes, evaluations, arrays, videos."""
