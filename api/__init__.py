"""The API's process: translates HTTP to operations and their errors to answers. Decides nothing."""
