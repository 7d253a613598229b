"""The signing authority: tokens, key store, packages, trust bundles."""
