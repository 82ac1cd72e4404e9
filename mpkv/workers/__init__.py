"""The worker process: one shard, its keys, the place where commands are executed."""
