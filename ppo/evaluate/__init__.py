"""Whole games of a trained agent: scores, videos, exports."""
