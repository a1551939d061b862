"""Settings that forbid, history, and bringing back what was deleted."""
