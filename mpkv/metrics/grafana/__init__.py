"""The Grafana board of mpkv: what is on it, the program that draws it, and its JSON, which is shipped."""
