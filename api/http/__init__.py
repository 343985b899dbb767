"""What all surfaces share: middleware, authentication, limits, bodies, errors, pages."""
