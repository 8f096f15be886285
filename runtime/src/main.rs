//! Corten's command line.
#![forbid(unsafe_code)]

fn main() -> ! {
    std::process::exit(runtime::command::run(std::env::args_os().skip(1)))
}
