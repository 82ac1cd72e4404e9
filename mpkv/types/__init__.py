"""Values – hash, list, set, sorted set – in native memory: they know nothing of keys, commands or processes."""
