"""The encoder of packages (docs/spec/package.md): firmware in, an encrypted and signed `.srp` out."""
