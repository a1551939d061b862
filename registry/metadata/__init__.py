"""All SQL lives here. Functions take a Transaction first, return values, and alone write what clients can see."""
