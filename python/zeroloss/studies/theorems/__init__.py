"""Checks of the theorems of the paper."""
