"""End states of training: stationary points of loss and weight decay, and points of least norm, with certificates."""

from .api import least_norm_point, stationary_point
from .point import StationaryPoint

__all__ = ["StationaryPoint", "least_norm_point", "stationary_point"]
