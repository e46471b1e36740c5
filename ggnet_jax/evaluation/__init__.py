"""HICO-DET's and V-COCO's protocols on prediction JSON; NumPy alone, no model, no JAX."""
