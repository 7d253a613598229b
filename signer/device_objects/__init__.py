"""Objects that single devices obey: work order, activation, service order (docs/spec/activation.md and following)."""
