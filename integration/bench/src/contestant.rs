//! A runtime, or the floor: how its verbs are called.

use crate::arguments::Arguments;
use crate::compiler;
use crate::ground::{Ground, Shape};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{fs, io};

/// Whose commands are measured.
#[derive(Debug, Clone)]
pub(crate) struct Contestant {
    /// As the tables call it.
    pub(crate) name: String,
    /// The binary.
    pub(crate) path: PathBuf,
    /// Name and version.
    pub(crate) version: String,
    /// Whether it is the floor, which has a command line of its own.
    pub(crate) floor: bool,
    /// Whether no failure of it is to be overlooked: Corten, and the floor.
    pub(crate) ours: bool,
}

impl Contestant {
    /// Corten, the distribution's runc and crun, those named on the command line, and the floor.
    pub(crate) fn all(arguments: &Arguments, ground: &Ground) -> Vec<Contestant> {
        let corten = arguments.corten.clone().unwrap_or_else(|| released("corten"));
        let mut all = vec![("corten".to_owned(), corten)];
        all.extend(["runc", "crun"].iter().filter_map(|name| Some(((*name).to_owned(), installed(name)?))));
        all.extend(arguments.others.iter().cloned());
        let mut all: Vec<Contestant> =
            all.into_iter().map(|(name, path)| Contestant::runtime(ground, name, &path)).collect();
        all.extend(floor(ground));
        all.retain(|one| arguments.only.is_empty() || arguments.only.contains(&one.name));
        all.retain(|one| one.can(ground));
        assert!(!all.is_empty(), "no contestant is left");
        all
    }

    /// Whether it runs a container here at all. crun 1.8 does not on version 2 without CAP_SYS_RESOURCE.
    fn can(&self, ground: &Ground) -> bool {
        [Shape::Plain, Shape::Docker].into_iter().all(|shape| {
            let (id, program) = (format!("{}-trial", self.name), &["/bin/true"]);
            ground.bundle(&id, shape, program, |_| {});
            let output = self.run(ground, &id, shape, program).stderr(Stdio::piped()).output().unwrap();
            let text = String::from_utf8_lossy(&output.stderr);
            if !output.status.success() {
                println!("without {}: {}", self.name, text.trim());
            }
            output.status.success()
        })
    }

    fn runtime(ground: &Ground, name: String, path: &Path) -> Contestant {
        let path =
            installed_copy(ground, &name, path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let output = Command::new(&path).arg("--version").output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let version = text.lines().next().unwrap_or_default().replace(" version ", " ");
        let ours = version.starts_with("corten");
        Contestant { name, path, version, floor: false, ours }
    }

    fn verb(&self, ground: &Ground, verb: &str) -> Command {
        let mut command = Command::new(&self.path);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::inherit());
        if !self.floor {
            command.arg("--root").arg(self.state(ground));
        }
        command.arg(verb);
        command
    }

    /// Where it keeps state.
    pub(crate) fn state(&self, ground: &Ground) -> PathBuf {
        ground.directory.join("state").join(&self.name)
    }

    fn filter(ground: &Ground, shape: Shape) -> PathBuf {
        if shape == Shape::Docker { ground.filter.clone() } else { "-".into() }
    }

    /// `run`, of a bundle that was made with the same program.
    pub(crate) fn run(&self, ground: &Ground, container: &str, shape: Shape, program: &[&str]) -> Command {
        let mut command = self.verb(ground, "run");
        if self.floor {
            command.arg(shape.name()).arg(&ground.rootfs).arg(Self::filter(ground, shape));
            command.args(ground.groups_of(container)).arg("--").args(program);
        } else {
            command.arg("--bundle").arg(bundle(ground, container)).arg(container);
        }
        command
    }

    /// `run` of Corten's, with a trace of it in a file.
    pub(crate) fn traced_run(&self, ground: &Ground, container: &str, trace: &Path) -> Command {
        let mut command = Command::new(&self.path);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command.arg("--root").arg(self.state(ground)).arg("--trace").arg(trace);
        command.arg("run").arg("--bundle").arg(bundle(ground, container)).arg(container);
        command
    }

    /// `create`; [`Contestant::pid`] knows the pid afterwards.
    pub(crate) fn create(&self, ground: &Ground, container: &str, shape: Shape, program: &[&str]) -> Command {
        let bundle = bundle(ground, container);
        let mut command = self.verb(ground, "create");
        if self.floor {
            let output = fs::File::create(bundle.join("pid")).unwrap();
            command.arg(shape.name()).arg(&ground.rootfs).arg(Self::filter(ground, shape));
            command.arg(bundle.join("fifo")).args(ground.groups_of(container));
            command.arg("--").args(program).stdout(output);
        } else {
            command.arg("--bundle").arg(&bundle).arg("--pid-file").arg(bundle.join("pid")).arg(container);
        }
        command
    }

    /// The pid of a created container's process.
    pub(crate) fn pid(&self, ground: &Ground, container: &str) -> i32 {
        fs::read_to_string(bundle(ground, container).join("pid")).unwrap().trim().parse().unwrap()
    }

    /// `start`.
    pub(crate) fn start(&self, ground: &Ground, container: &str) -> Command {
        let mut command = self.verb(ground, "start");
        match self.floor {
            true => command.arg(bundle(ground, container).join("fifo")),
            false => command.arg(container),
        };
        command
    }

    /// `delete`, of a container that has ended.
    pub(crate) fn delete(&self, ground: &Ground, container: &str) -> Command {
        let mut command = self.verb(ground, "delete");
        match self.floor {
            true => command.args(ground.groups_of(container)),
            false => command.arg(container),
        };
        command
    }

    /// `exec`.
    pub(crate) fn exec(&self, ground: &Ground, container: &str, shape: Shape, program: &[&str]) -> Command {
        let mut command = self.verb(ground, "exec");
        if self.floor {
            command.arg(shape.name()).arg(self.pid(ground, container).to_string());
            command.arg(Self::filter(ground, shape)).args(ground.groups_of(container)).arg("--");
        } else {
            command.arg(container);
        }
        command.args(program);
        command
    }

    /// A verb that takes the id and perhaps one word more: `state`, `kill`. The floor has none.
    pub(crate) fn simple(&self, ground: &Ground, verb: &str, container: &str, more: Option<&str>) -> Command {
        let mut command = self.verb(ground, verb);
        command.arg(container).args(more);
        command
    }
}

/// Where the programs lie that are measured: beside the ground, whose tmpfs is no place where programs are
/// installed.
pub(crate) fn programs(directory: &Path) -> PathBuf {
    directory.with_extension("programs")
}

/// Writes a program as an installation does it: how much of a file the kernel maps at once depends on how it
/// was written, and a linker does that in small pieces.
fn installed_copy(ground: &Ground, name: &str, path: &Path) -> io::Result<PathBuf> {
    let path = fs::canonicalize(path)?;
    let place = programs(&ground.directory).join(name);
    fs::create_dir_all(&place)?;
    let copy = place.join(path.file_name().unwrap_or_default());
    fs::copy(&path, &copy)?;
    Ok(copy)
}

/// A program's release build, beside whatever build the bench is.
pub(crate) fn released(name: &str) -> PathBuf {
    let own = std::env::current_exe().unwrap();
    own.ancestors().nth(2).unwrap().join("release").join(name)
}

/// The shim of that build, or the one that was built as that Corten was.
pub(crate) fn shim(arguments: &Arguments) -> PathBuf {
    const NAME: &str = "containerd-shim-corten-v2";
    let beside = arguments.corten.as_ref().map(|corten| corten.with_file_name(NAME));
    beside.filter(|shim| shim.exists()).unwrap_or_else(|| released(NAME))
}

fn bundle(ground: &Ground, container: &str) -> PathBuf {
    ground.directory.join("bundles").join(container)
}

fn installed(name: &str) -> Option<PathBuf> {
    integration::engine::find(name)
        .or_else(|| Some(Path::new("/usr/sbin").join(name)).filter(|path| path.is_file()))
}

fn floor(ground: &Ground) -> Option<Contestant> {
    let path = ground.directory.join("floor");
    let Some(compiler) = compiler::compile("floor.c", &path) else {
        println!("no floor: needs musl-tools, or gcc and libc6-dev");
        return None;
    };
    let version = format!("floor.c by {compiler}");
    Some(Contestant { name: "floor".into(), path, version, floor: true, ours: true })
}
