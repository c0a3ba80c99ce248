"""Compute targets: where runs are executed."""
