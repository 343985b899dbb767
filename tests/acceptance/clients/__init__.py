"""Clients that public generators make of the served OpenAPI document.

Each of `programs/` makes the same calls with one generator's client and prints what it got as JSON. Run one as
`PROGRAM BASE_URL API_KEY RECEIVER_URL CSV_FILE`.
"""
