//! Environments: lists of `NAME=value`.

/// Where programs are looked for unless an image says otherwise.
pub const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The name of a variable.
fn name(variable: &str) -> &str {
    variable.split('=').next().unwrap_or_default()
}

/// Whether a variable has a value.
pub fn has(environment: &[String], wanted: &str) -> bool {
    environment.iter().filter_map(|pair| pair.split_once('=')).any(|(own, _)| own == wanted)
}

/// Sets variables, each at the place where it was; one without a value is taken away.
pub fn set<'a>(environment: &mut Vec<String>, variables: impl IntoIterator<Item = &'a String>) {
    for variable in variables {
        let at = environment.iter().position(|other| name(other) == name(variable));
        match (at, variable.contains('=')) {
            (Some(at), true) => environment[at].clone_from(variable),
            (Some(at), false) => drop(environment.remove(at)),
            (None, true) => environment.push(variable.clone()),
            (None, false) => {}
        }
    }
}

/// Adds the variables that are not there.
pub fn inherit<'a>(environment: &mut Vec<String>, from: impl IntoIterator<Item = &'a String>) {
    let missing = |other: &&String| !environment.iter().any(|own| name(own) == name(other));
    let missing: Vec<String> = from.into_iter().filter(missing).cloned().collect();
    environment.extend(missing);
}
