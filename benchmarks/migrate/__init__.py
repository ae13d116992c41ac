"""How well the scan finds secrets, measured on labelled files."""
