"""The bootloader as an executable specification of package, trust-bundle, device-state and device-codes in docs/spec/.

Written to be read beside those texts, in their order. It decides; it does not defend itself against glitches, which is
the business of the C implementation.
"""
