"""The numbers of the stats board as INFO, and as `/metrics` for Prometheus."""
