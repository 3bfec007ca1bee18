"""The sizes that images may have."""

SIDES = (16, 256)
"""The smallest and the largest height and width, in pixels."""
CHANNELS = (1, 3)
"""Numbers of channels: grey, and red, green and blue."""
