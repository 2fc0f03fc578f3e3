"""Results on their way to destinations."""
