"""The registry: files here are the rules, in the spec's nouns. No SQL text, no HTTP types."""
