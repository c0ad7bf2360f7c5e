"""Storage middlewares: what answers redirects in the driver's place."""
