"""The encoder of trust bundles (docs/spec/trust-bundle.md), and the gathering of their signatures root by root."""
