"""What goes wrong outside of us: the object store, the database, and the ways to them. Each fault is a real one."""
