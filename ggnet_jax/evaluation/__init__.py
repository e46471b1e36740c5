"""HICO-DET's and V-COCO's protocols on prediction files: NumPy alone, no model, no JAX."""
