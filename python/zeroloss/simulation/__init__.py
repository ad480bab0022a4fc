"""Simulations: an engine that takes the steps of a dynamics, and observers that record and end the run."""

from .api import simulate

__all__ = ["simulate"]
