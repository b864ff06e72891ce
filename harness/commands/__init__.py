"""The `shipbench` command: one module a subcommand, which declares its arguments and runs it."""
