//! With the feature `build-ebpf`, builds the kernel object from source by aya-build; without it there is
//! nothing to do: the committed object is embedded.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    #[cfg(feature = "build-ebpf")]
    fresh_object()?;
    Ok(())
}

#[cfg(feature = "build-ebpf")]
fn fresh_object() -> Result<(), Box<dyn std::error::Error>> {
    use aya_build::{Package, Toolchain, build_ebpf};

    const TOOLCHAIN: &str = "TLS_SNIFF_BPF_TOOLCHAIN";
    println!("cargo::rerun-if-env-changed={TOOLCHAIN}");
    println!("cargo::rerun-if-changed=../tls-sniff-common");
    let toolchain = std::env::var(TOOLCHAIN).unwrap_or_else(|_| "nightly".to_owned());
    let features: &[&str] =
        if cfg!(feature = "kernel-log") { &["kernel-log"] } else { Default::default() };
    let root_dir = concat!(env!("CARGO_MANIFEST_DIR"), "/../tls-sniff-ebpf");
    let package =
        Package { name: "tls-sniff-ebpf", root_dir, no_default_features: false, features };
    build_ebpf([package], Toolchain::Custom(&toolchain))?;
    Ok(())
}
