"""Data sets: reading them where they lie, packing them for training, reading packs."""
