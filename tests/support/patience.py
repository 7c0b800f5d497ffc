"""How long a test waits for another process before it says that it hangs: long, so that no load matters."""

PATIENCE_SECONDS = 600
