"""Which commands exist and what each does: declared once, beside its handler. No sockets, no processes."""
