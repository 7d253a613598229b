"""Provisioning stations: boards become devices under one work order, counted, recorded, exactly once each.

`machine` says what to do next with the board in a nest, `station` keeps the count (`ledger`, `evidence`), `runner` does
what the machine says over a fixture and a link. Specification: docs/spec/station.md, docs/spec/birth-record.md.
"""
