"""Simulations: one engine that takes the steps of a dynamics, and the observers that watch it."""

from .api import simulate

__all__ = ["simulate"]
