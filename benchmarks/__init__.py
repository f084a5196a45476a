"""Benchmarks: ratios within one run. Absolute figures are this machine's, at this moment."""
