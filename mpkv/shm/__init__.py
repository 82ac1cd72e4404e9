"""What all processes see without a message: the shared segment and the stats board in it."""
