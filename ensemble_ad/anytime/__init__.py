"""`ensad run`: families are tuned by turns within one budget, and any moment is an end."""
