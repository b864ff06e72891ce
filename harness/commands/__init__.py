"""The `shipbench` command and its subcommands."""
