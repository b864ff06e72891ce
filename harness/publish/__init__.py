"""Publish a measured case: a self-contained folder, with card, licences and demo, on disk or on the Hub."""
