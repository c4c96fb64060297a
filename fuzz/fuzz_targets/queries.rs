//! `lgtm_tests::fuzz::queries` under libFuzzer.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| lgtm_tests::fuzz::queries(data));
