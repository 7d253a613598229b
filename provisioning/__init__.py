"""Production: work orders, stations, the registry of devices."""
