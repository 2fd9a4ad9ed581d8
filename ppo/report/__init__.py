"""Pages about a run: report, model card, TensorBoard."""
