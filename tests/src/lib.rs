//! Tests over several crates
