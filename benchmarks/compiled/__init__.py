"""What XLA makes of our programs for other devices: `python -m benchmarks.compiled`."""
