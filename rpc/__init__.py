"""The host's side of the link: SMP messages, the hop layer, transports, and what devices sign about themselves."""
