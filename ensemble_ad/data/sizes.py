"""The sizes that images may have."""

SIDES = (16, 256)
"""The smallest and the largest height and width of an image, in pixels."""
CHANNELS = (1, 3)
"""Numbers of channels: grey, and red, green and blue."""
LEAST_PICTURE = 8
"""The smallest height and width of a picture that an image is made of."""
MOST_PIXELS = 1 << 24
"""The most pixels of a picture; a larger one is refused by its header, before memory is taken for it."""
