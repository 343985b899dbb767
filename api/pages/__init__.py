"""Pages for people: the operators' dashboard, the API reference, and what both build on.

A page is rendered on the server and works without JavaScript; scripts add live updates, charts and keys. Pages only
translate: what they show and do are the operations that the API has.
"""
