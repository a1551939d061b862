"""What a server may offer beyond ASGI's core, by name; our own edge does."""

# https://asgi.readthedocs.io/en/latest/extensions.html: part of an open file as the body of an answer. Our edge adds to
# `sent` of the extension how many bytes have gone: fewer than were asked when the client goes.
ZERO_COPY = "http.response.zerocopysend"

# Of ours: in the scope of a request that came alone and has no body, the bytes that it was.
BYTES = "entrepot.bytes"
