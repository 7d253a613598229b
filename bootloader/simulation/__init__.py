"""A simulated device: flash that obeys section 1 of docs/spec/device-state.md, power that fails, one file to keep both.

Nothing here is part of the bootloader, and no state made here is one that a real device may have.
"""
