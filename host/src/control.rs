//! The operator's socket: what the command line talks to. HTTP with JSON over a Unix socket.
