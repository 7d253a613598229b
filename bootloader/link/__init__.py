"""The link side of a device, without any I/O: SMP, its framings, chains and buses (docs/spec/protocol.md).

Written as the firmware does it: bounded buffers, no library, nothing that is received is trusted.
"""
