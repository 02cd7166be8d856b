//! Findings about the two libraries that jobs with leaves are given.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use flexmig_core::nccl::Choice;
use flexmig_core::nccl::libraries::{PLUGIN, PRELOAD, is_wanted};
use flexmig_core::policy::Nccl;

use super::finding::Finding;

/// What a look at a library showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// No such file.
    Missing,
    /// Users cannot read it, because of this file or directory.
    Hidden(PathBuf),
    /// The loader does not take it, and says why.
    Broken(String),
    /// It loads.
    Good,
}

/// Judges the libraries; `dirs` are those that gres/flexmig looks in, in its order.
pub fn findings(policy: &Nccl, dirs: &[PathBuf], look: impl Fn(&Path) -> State) -> Vec<Finding> {
    // A look loads the library, so one look at each has to do.
    let states = |dir: &PathBuf| [PRELOAD, PLUGIN].map(|file| look(&dir.join(file)));
    let found = dirs
        .iter()
        .map(|dir| (std::slice::from_ref(dir), states(dir)))
        .find(|(_, states)| states.iter().any(|state| *state != State::Missing));
    // The other directories are not looked at where one has a library.
    let (dirs, states) = found.unwrap_or((dirs, [State::Missing, State::Missing]));
    let wanted = [PRELOAD, PLUGIN].into_iter().zip(states);
    let wanted = wanted.filter(|(file, _)| is_wanted(policy, file));
    wanted.map(|(file, state)| judge(policy, file, dirs, state)).collect()
}

/// `dirs` is the one directory that has libraries, or all if none has.
fn judge(policy: &Nccl, file: &str, dirs: &[PathBuf], state: State) -> Finding {
    let (is_vital, without) = match file {
        PRELOAD => (
            policy.mode != Choice::Net,
            "ranks are not bound, and NCCL refuses two leaves of one GPU",
        ),
        _ => (
            policy.mode == Choice::Net,
            "mode net has no network, and newer NCCL is not served natively",
        ),
    };
    let place = match (&state, dirs.first()) {
        (State::Missing, _) | (_, None) => file.to_owned(),
        (_, Some(dir)) => dir.join(file).display().to_string(),
    };
    let (what, mend) = match state {
        State::Good => return Finding::ok("library", place, "loads"),
        State::Missing => {
            let list: Vec<_> = dirs.iter().map(|dir| dir.display().to_string()).collect();
            let mend = "install it there, or name its directory in library_dir of flexmig.toml";
            (format!("is not in {}", list.join(", ")), mend.to_owned())
        }
        State::Hidden(part) => (
            format!("users may not read {}", part.display()),
            format!("chmod o+rX {}", part.display()),
        ),
        State::Broken(reason) => (
            format!("does not load: {reason}"),
            "install the file again from the build for this machine".to_owned(),
        ),
    };
    let what = format!("{what}: {without}");
    match is_vital {
        true => Finding::error("library", place, what, mend),
        false => Finding::warning("library", place, what, mend),
    }
}

/// Looks at a library as a job will: is it there, may any user read it, does it load?
pub fn look(path: &Path) -> State {
    if !path.is_file() {
        return State::Missing;
    }
    let real = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    for part in real.ancestors() {
        // Of a directory users need only the right to pass.
        let needed = if part == real { 0o4 } else { 0o1 };
        if fs::metadata(part).is_ok_and(|found| found.permissions().mode() & needed == 0) {
            return State::Hidden(part.to_owned());
        }
    }
    match load(path) {
        Ok(()) => State::Good,
        Err(reason) => State::Broken(reason),
    }
}

/// Loads it into a process of this program, as a damaged one can take the process with it.
fn load(path: &Path) -> Result<(), String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let output = Command::new(program)
        .arg("--version")
        .env_clear()
        .env("LD_PRELOAD", path)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| error.to_string())?;
    // The loader says "ERROR: ld.so: object '...' from LD_PRELOAD cannot be preloaded (why): ignored."
    let text = String::from_utf8_lossy(&output.stderr);
    match text.lines().find(|line| line.contains("ld.so") || line.contains("LD_PRELOAD")) {
        Some(line) => {
            let reason = line.split_once("cannot be preloaded ").map_or(line, |(_, reason)| reason);
            Err(reason.trim_end_matches(": ignored.").trim_matches(['(', ')']).to_owned())
        }
        None if output.status.success() => Ok(()),
        None => Err(format!("the process that loads it ended with {}", output.status)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::*;

    fn lines(policy: &Nccl, look: impl Fn(&Path) -> State) -> Vec<String> {
        let dirs = ["/a".into(), "/b".into()];
        findings(policy, &dirs, look).iter().map(Finding::to_string).collect()
    }

    #[test]
    fn both_are_looked_for_where_one_is() {
        let only_b = |path: &Path| match path.starts_with("/b") {
            true => State::Good,
            false => State::Missing,
        };
        let expected =
            ["ok      /b/libflexmig_preload.so: loads", "ok      /b/libnccl-net-flexmig.so: loads"];
        assert_eq!(lines(&Nccl::default(), only_b), expected);
        let one = |path: &Path| match path == Path::new("/a/libnccl-net-flexmig.so") {
            true => State::Good,
            false => only_b(path),
        };
        let found = lines(&Nccl::default(), one);
        assert!(found[0].starts_with("error   libflexmig_preload.so: is not in /a: "), "{found:?}");
    }

    #[test]
    fn what_a_mode_lives_on_is_an_error() {
        let levels = |mode| {
            let policy = Nccl { mode, ..Nccl::default() };
            let dirs = ["/a".into()];
            let found = findings(&policy, &dirs, |_| State::Missing);
            found.into_iter().map(|finding| finding.level).collect::<Vec<_>>()
        };
        assert_eq!(levels(Choice::Auto), [Level::Error, Level::Warning]);
        assert_eq!(levels(Choice::Net), [Level::Warning, Level::Error]);
        assert_eq!(levels(Choice::Off), []);
        let policy = Nccl { ld_preload: false, ..Nccl::default() };
        assert_eq!(lines(&policy, |_| State::Good).len(), 1);
    }

    #[test]
    fn each_reason_has_its_mend() {
        let text = |state: State| lines(&Nccl::default(), |_| state.clone()).remove(0);
        let tail = ": ranks are not bound, and NCCL refuses two leaves of one GPU: ";
        assert_eq!(
            text(State::Hidden("/a".into())),
            format!("error   /a/libflexmig_preload.so: users may not read /a{tail}chmod o+rX /a")
        );
        assert_eq!(
            text(State::Broken("file too short".into())),
            format!(
                "error   /a/libflexmig_preload.so: does not load: file too short{tail}install the file \
                 again from the build for this machine"
            )
        );
        assert_eq!(
            text(State::Missing),
            format!(
                "error   libflexmig_preload.so: is not in /a, /b{tail}install it \
                 there, or name its directory in library_dir of flexmig.toml"
            )
        );
    }
}
