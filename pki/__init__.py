"""Keys, identifiers, roles and certificates as values: pure, no I/O, no clock, no token."""
