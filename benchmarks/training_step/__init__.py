"""Images/s of the training step, ours against PyTorch's: `python -m benchmarks.training_step`."""
