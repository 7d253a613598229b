"""The key store (docs/spec/key-store.md). Import its modules by name: `signing_gate` is light, `key_store` is not."""
