"""What the command line says, and with which exit code it ends, after Ctrl-C."""

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it."""

SAID = "driftmoe: interrupted"
"""Message after Ctrl-C."""
