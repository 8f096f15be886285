//! Programs of one file of C, compiled on the spot.

use std::path::Path;
use std::process::Command;

/// Compiles a file of this crate, and says by what; nothing where there is no compiler. With musl if it is there: glibc begins
/// a program with some seventy questions to the processor, each of which a hypervisor answers, up to half a millisecond in
/// all. The kernel's headers are those of the other C library.
pub(crate) fn compile(source: &str, program: &Path) -> Option<&'static str> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(source);
    let flags = ["-O2", "-static", "-Wall", "-Wextra", "-Werror", "-o"];
    let headers = ["-idirafter", "/usr/include", "-idirafter", "/usr/include/x86_64-linux-gnu"];
    [("musl-gcc", &headers[..]), ("gcc", &[])].into_iter().find_map(|(compiler, headers)| {
        let status = Command::new(compiler).args(flags).arg(program).args(headers).arg(&source).status();
        status.is_ok_and(|status| status.success()).then_some(compiler)
    })
}
