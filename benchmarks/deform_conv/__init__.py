"""Deformable convolution, ours against others: `python -m benchmarks.deform_conv`."""
