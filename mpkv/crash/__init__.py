"""What is left of a process that crashed: the report it writes while it dies, and what others can say about it."""
