"""Encoders measured and compared: geometry, probes, statistics, the grid, the map of claims."""
