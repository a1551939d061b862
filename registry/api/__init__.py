"""HTTP in, HTTP out: parse, call one rule, build the response. No decisions."""
