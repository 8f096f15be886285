//! What programs do, compared with three independent opinions on random profiles, for every call worth asking
//! about: our own reading of profiles rule by rule, seccompiler, and (feature `libseccomp-oracle`)
//! libseccomp. `PROPTEST_CASES` sets how many profiles.
#![expect(clippy::expect_used)]

mod explained;
#[cfg(feature = "libseccomp-oracle")]
mod libseccomp;
#[cfg(feature = "libseccomp-oracle")]
mod libseccomp_sys;
mod random;
mod seccompiler;
