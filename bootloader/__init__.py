"""The device: an executable specification (`reference`), board files, simulated flash. Imports nothing of ours."""
