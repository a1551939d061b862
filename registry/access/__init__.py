"""Who may do what, as pure values and decisions: no I/O, no clock, no HTTP."""
