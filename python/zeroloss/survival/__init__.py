"""Times of events in runs that may end before the event: medians, and laws of delays by maximum likelihood.

A run that ends before the event is a right-censored observation: its time is known to be longer. If such runs were left
out, or their last steps were taken for the times of the event, times would look shorter than they are.
"""

from .kaplan_meier import median
from .law import DISTRIBUTIONS, DelayLaw, Estimate, UndeterminedError, check_installed, fit_law

__all__ = [
    "DISTRIBUTIONS",
    "DelayLaw",
    "Estimate",
    "UndeterminedError",
    "check_installed",
    "fit_law",
    "median",
]
