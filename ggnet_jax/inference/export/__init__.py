"""A trained network as files that run without this package: StableHLO for JAX, ONNX."""
