"""Bytes by storage key. Knows nothing of repositories, HTTP or SQL, and imports nothing of ours."""
