"""A person looks at a result: what is shown, and what the person decided."""
