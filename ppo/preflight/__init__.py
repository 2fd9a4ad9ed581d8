"""What a run would do, before it begins."""
