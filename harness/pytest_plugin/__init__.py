"""TODO pytest_plugin."""
