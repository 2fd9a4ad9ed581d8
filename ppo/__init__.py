"""Proximal policy optimization (Schulman et al. 2017, arXiv:1707.06347) for Atari games."""

__version__ = "0.1.0"
