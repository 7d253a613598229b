"""What anyone can run to check what an authority did. Each file stands alone and shares no code with what it checks."""
