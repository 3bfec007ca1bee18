"""Optuna studies: planned, run by any number of workers, carried between machines."""
