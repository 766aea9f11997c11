"""gRPC's calls over one HTTP/2 connection, as bytes in and bytes out: no sockets, no threads, no clock, no event loop."""
