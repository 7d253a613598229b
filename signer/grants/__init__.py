"""Grants: the right, and the content key, to install one package, for any number of devices under one signature."""
