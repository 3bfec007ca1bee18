"""Detectors that score new images."""
