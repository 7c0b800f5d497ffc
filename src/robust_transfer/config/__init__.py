"""Every configuration value: its type, range, meaning and owner; imports no torch."""
