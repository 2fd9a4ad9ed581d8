"""Many runs: the grid, the machines, the table and the curves."""
