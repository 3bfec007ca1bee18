"""Images: read, checked, split, preprocessed, damaged on purpose."""
