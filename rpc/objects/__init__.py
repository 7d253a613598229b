"""What devices sign about themselves, parsed and verified by a host from docs/spec/ alone."""
