"""Simulations: one engine that takes the steps of a dynamics, and the observers that watch it."""

from .api import load, simulate
from .many import simulate_many

__all__ = ["load", "simulate", "simulate_many"]
