//! Wiring: the only file that knows every stage.
