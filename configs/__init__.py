"""Configurations: base.py holds every field, each other file only what it changes."""
