"""Jobs from the queue to the stored result."""
