"""What takes a registry elsewhere, whole or in parts: backups, moves to other stores, and other registries' files."""
