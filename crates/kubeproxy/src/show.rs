//! The rules of a service in words.
