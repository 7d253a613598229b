"""What is on the tokens against what the key store says, and the lists that people and tools read."""
