"""Who may ask for which signature, and who must agree: signed statements, SSH signatures, Cedar policies. Pure."""
