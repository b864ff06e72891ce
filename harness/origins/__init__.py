"""Where data and models come from, and how they are fetched and pinned."""
