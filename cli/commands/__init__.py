"""One module for each command group; each is imported only when one of its commands runs."""
