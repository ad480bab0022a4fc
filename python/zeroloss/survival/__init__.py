"""Times of events in runs that may end before the event: medians, and laws of delays by maximum likelihood.

A run that ends first is a right-censored observation: its time is known to be longer. Leaving such runs out, or taking
their last step for the time of the event, makes times look shorter than they are.
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
