//! The committed kernel object belongs to the committed sources. No BPF toolchain is asked for: this
//! compares digests. That the sources also give these very bytes is `cargo xtask build-ebpf --check`.

#[test]
fn the_committed_kernel_object_was_built_from_these_sources() {
    if let Err(error) = xtask::digest::verify(&xtask::run::workspace_root()) {
        panic!("{error:#}");
    }
}
