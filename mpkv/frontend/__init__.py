"""The frontend process: connections, the gate, the sequencer, replies in order. It owns no keys."""
