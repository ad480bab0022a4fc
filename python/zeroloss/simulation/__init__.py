"""Simulations: one engine that takes the steps of a dynamics, and the observers that watch it."""

from .api import simulate
from .many import simulate_many

__all__ = ["simulate", "simulate_many"]
