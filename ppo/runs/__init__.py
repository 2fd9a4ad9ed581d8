"""A training run: the loop around the trainer, its checkpoints, its observers."""
