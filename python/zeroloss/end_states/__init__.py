"""End states of training: stationary points of loss and weight decay, with certificates."""

from .api import stationary_point
from .point import StationaryPoint

__all__ = ["StationaryPoint", "stationary_point"]
