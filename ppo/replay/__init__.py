"""Recorded episodes: played again, verified, rendered."""
