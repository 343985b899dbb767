"""The OpenAPI document.

`operations` holds what a route says of itself, `parts` what holds for all routes, `webhooks` what receivers get and
`examples` the examples. `document` puts it together, `python -m api.openapi` prints it, and `serving` serves it.
"""
