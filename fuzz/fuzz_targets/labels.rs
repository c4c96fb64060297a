//! `lgtm_tests::fuzz::labels` under libFuzzer.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| lgtm_tests::fuzz::labels(data));
