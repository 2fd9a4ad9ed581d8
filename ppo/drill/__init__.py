"""Failures on purpose: what a run survives."""
