"""What a run reports: scalars, log, events, counters, diagnostics."""
