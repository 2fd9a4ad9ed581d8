"""Studies of runs: sweeps, learning curves, failure drills."""
