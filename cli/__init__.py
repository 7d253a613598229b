"""The `strongroom` command: the composition root, the only place that opens tokens, files and clocks for the others."""
