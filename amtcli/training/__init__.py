"""Training: recipes, targets, augmentation, losses, the loop."""
