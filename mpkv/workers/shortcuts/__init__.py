"""Compiled ways from a request to its reply, for the commands that dominate real traffic.

A shortcut takes the usual cases of its command and nothing else: the right type, numbers in their usual notation,
options that do not contradict each other. Whatever differs – and every error – is left to the handler, which is the one
authority on semantics: a shortcut that answers 0 has changed nothing and its output is discarded. One that answers -1
has found no memory, and has changed nothing either: steps that follow others are taken under a promise (`allocator`),
replies to changes are short enough for the room that every reply has. An effect that is not the command itself is the
handler's to say. `Executor.use_shortcuts(False)` switches all of them off, and tests compare both ways.

There is a module for each family of commands; each enters its shortcuts into the `table` when it is imported.
"""
