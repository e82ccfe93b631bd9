"""Real servers for tests, one module each. A server that cannot start fails the tests that ask for it."""
