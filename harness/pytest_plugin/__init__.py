"""Everything that is pytest: options, collection, the `bench` fixture, and the end of a session."""
