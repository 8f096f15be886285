//! Harness for tests that run real containers.
