"""The central registry: every device, and what was made for it (docs/spec/registry.md).

Import its modules by name: `registry` brings SQLAlchemy, `address` and `errors` nothing heavy.
"""
