"""A measured case becomes a folder that stands alone, and goes to the Hub."""
