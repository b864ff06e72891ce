"""Options of a backend, and the search for those that suit a case."""
