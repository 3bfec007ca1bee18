"""Images: read, checked, split, preprocessed, and damaged on purpose."""
