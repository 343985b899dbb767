"""What all commands share: options for times, a context for the command, tables, JSON, errors."""
