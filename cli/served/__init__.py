"""Simulated devices as real processes behind ptys, sockets, chains and buses. Simulation only."""
