"""Recorded episodes: replay, verify and render them."""
