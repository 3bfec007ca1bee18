"""From a recipe to a cached member: everything that runs a model on images."""
