"""What a ceremony does, one act a file: each is safe to perform again after a kill at any moment."""
