"""What comes back from physicians."""
