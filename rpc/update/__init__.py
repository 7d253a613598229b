"""Brings one package to many devices (docs/spec/update.md): look first, then act, and start anew from what is there."""
