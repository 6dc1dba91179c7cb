//! Components nobody would write by accident.
