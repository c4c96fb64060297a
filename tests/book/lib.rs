//! The code of the book, compiled: each chapter is the documentation of an item here, and its Rust blocks are doctests of this crate. It has
//! no code of its own; `cargo test --package lgtm-book` compiles the blocks and runs those that are not marked `no_run`.
