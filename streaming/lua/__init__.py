"""The scripts that run inside Redis, read as package data."""
