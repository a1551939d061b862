"""The server's side of HTTP: bytes of a connection become requests for an ASGI application, and answers bytes."""
