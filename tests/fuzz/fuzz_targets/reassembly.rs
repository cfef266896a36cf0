#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tls_sniff_tests::fuzz::reassembly(bytes));
