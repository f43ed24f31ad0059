"""Scores of estimated performances against reference performances."""
