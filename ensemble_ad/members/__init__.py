"""Trained models' cached results: stored, described, judged without labels, chosen for a blend."""
