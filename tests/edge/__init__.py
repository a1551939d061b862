"""The edge: HTTP as our own protocol class speaks it, with its limits in bytes and in time."""
