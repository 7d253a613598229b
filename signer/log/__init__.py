"""The audit log: tiles, checkpoints signed by an HSM key, proofs, witnesses (docs/spec/audit-log.md)."""
