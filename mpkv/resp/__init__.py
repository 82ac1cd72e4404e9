"""The protocol without I/O: requests parsed, replies encoded and decoded, RESP2 and RESP3."""
