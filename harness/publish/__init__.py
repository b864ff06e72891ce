"""Publish a measured case: a folder that stands alone, with card, licences and demo, on disk or on the Hub."""
