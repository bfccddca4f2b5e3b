"""Attacks on servers as a stranger starts them."""
