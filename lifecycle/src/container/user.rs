//! Who a container's process is: a user and groups of the image's own files.

use std::collections::BTreeSet;

use runtime::spec::User;
use tree::Root;

use crate::error::{Error, Result, error};

/// Finds `name[:group]`, names or numbers, in an image; `more` are groups to be added.
///
/// # Errors
/// When a name is not in the image.
pub fn find(root: &Root, name: &str, more: &[String]) -> Result<User> {
    let passwd = root.text("etc/passwd")?.unwrap_or_default();
    let group = root.text("etc/group")?.unwrap_or_default();
    resolve(&passwd, &group, name, more)
}

fn resolve(passwd: &str, group: &str, name: &str, more: &[String]) -> Result<User> {
    let (user, wanted_group) = name.split_once(':').map_or((name, None), |(user, group)| (user, Some(group)));
    let user = if user.is_empty() { "0" } else { user };
    // A name goes before a number, as a name may consist of digits.
    let row =
        rows(passwd, 4).find(|row| row[0] == user).or_else(|| rows(passwd, 4).find(|row| row[2] == user));
    let (uid, gid, login) = match row {
        Some(row) => (number(row[2])?, number(row[3])?, Some(row[0])),
        None => (id(user).ok_or_else(|| missing("user", user, "passwd"))??, 0, None),
    };
    let gid = match wanted_group.filter(|group| !group.is_empty()) {
        Some(wanted) => group_id(group, wanted)?,
        None => gid,
    };
    let mut groups = BTreeSet::from([gid]);
    if let Some(login) = login.filter(|_| wanted_group.is_none()) {
        let member = |row: &Vec<&str>| row[3].split(',').any(|member| member.trim() == login);
        for row in rows(group, 4).filter(member) {
            groups.insert(number(row[2])?);
        }
    }
    for name in more {
        groups.insert(group_id(group, name)?);
    }
    Ok(User { uid, gid, additional_gids: groups.into_iter().collect(), umask: None })
}

/// The lines of a passwd or group file that have so many fields.
fn rows(text: &str, fields: usize) -> impl Iterator<Item = Vec<&str>> {
    text.lines().map(|line| line.split(':').collect::<Vec<_>>()).filter(move |row| row.len() >= fields)
}

/// The number of a group, by its name in a group file or as a number.
///
/// # Errors
/// When it is neither.
pub fn group_id(group: &str, name: &str) -> Result<u32> {
    match rows(group, 3).find(|row| row[0] == name) {
        Some(row) => number(row[2]),
        None => id(name).ok_or_else(|| missing("group", name, "group"))?,
    }
}

/// A user or group that is a number, which may be too large or too small.
fn id(text: &str) -> Option<Result<u32>> {
    let number: i64 = text.parse().ok()?;
    let id = u32::try_from(number).ok().filter(|id| i32::try_from(*id).is_ok());
    Some(id.ok_or_else(|| error!(invalid, "uids and gids must be in range 0-2147483647")))
}

fn number(text: &str) -> Result<u32> {
    text.parse().map_err(|_| error!(invalid, "{text:?} in the image's passwd or group file is not a number"))
}

fn missing(what: &str, name: &str, file: &str) -> Error {
    error!(invalid, "unable to find {what} {name}: no matching entries in {file} file")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_found_by_name_and_number() {
        let passwd = "root:x:0:0::/root:/bin/sh\nweb:x:33:34::/:/bin/false\n";
        let group = "root:x:0:\nwww:x:34:\nlog:x:40:web,other\ndisk:x:6:root\n";
        let find =
            |name| resolve(passwd, group, name, &[]).map(|user| (user.uid, user.gid, user.additional_gids));
        assert_eq!(find("").unwrap(), (0, 0, vec![0, 6]));
        assert_eq!(find("web").unwrap(), (33, 34, vec![34, 40]));
        assert_eq!(find("33").unwrap(), (33, 34, vec![34, 40]));
        assert_eq!(find("web:root").unwrap(), (33, 0, vec![0]));
        assert_eq!(find("1000:1000").unwrap(), (1000, 1000, vec![1000]));
        assert_eq!(find("1000").unwrap(), (1000, 0, vec![0]));
        assert!(find("nobody").unwrap_err().message.contains("no matching entries in passwd file"));
        assert!(find("web:nogroup").unwrap_err().message.contains("no matching entries in group file"));
        let more = resolve(passwd, group, "web", &["disk".into(), "99".into()]).unwrap();
        assert_eq!(more.additional_gids, [6, 34, 40, 99]);
    }
}
