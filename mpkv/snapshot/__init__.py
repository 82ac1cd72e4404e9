"""The state of a shard as a file in Redis' RDB format: written by a forked child, joined, read, checked."""
