"""Environments: what an episode is, which games there are, and vectors of envs."""
