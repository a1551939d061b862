"""Pure: text in, values out. No await, no I/O, no clock."""
