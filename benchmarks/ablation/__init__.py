"""Rows of the paper's tables x seeds on the embedded data set: `python -m benchmarks.ablation`."""
