//! Subordinate ids: the ranges that `/etc/subuid` and `/etc/subgid` give to a user (subuid(5)).

/// The files, by what they are for.
pub const UIDS: &str = "/etc/subuid";
/// See [`UIDS`].
pub const GIDS: &str = "/etc/subgid";

/// A range: its first id and how many there are.
pub type Range = (u32, u32);

/// The ranges of a user, named by number or by name, in a file's text.
#[must_use]
pub fn ranges(text: &str, user: u32, name: Option<&str>) -> Vec<Range> {
    let mut found = Vec::new();
    for line in text.lines() {
        let mut fields = line.trim().split(':');
        let (Some(who), Some(first), Some(count)) = (fields.next(), fields.next(), fields.next()) else {
            continue;
        };
        if who.parse() != Ok(user) && Some(who) != name {
            continue;
        }
        if let (Ok(first), Ok(count)) = (first.parse(), count.parse()) {
            found.push((first, count));
        }
    }
    found
}

/// The ranges of a user of this host. A file that cannot be read gives none.
#[must_use]
pub fn of(file: &str, user: u32) -> Vec<Range> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    ranges(&text, user, name(user).as_deref())
}

/// The name of a user in `/etc/passwd`: a static program cannot ask name services.
#[must_use]
pub fn name(user: u32) -> Option<String> {
    let text = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    text.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(user)).then(|| name.to_owned())
    })
}

/// Whether `count` ids from `first` are all in one of the ranges.
#[must_use]
pub fn holds(ranges: &[Range], first: u32, count: u32) -> bool {
    let end = u64::from(first) + u64::from(count);
    ranges.iter().any(|(start, size)| first >= *start && end <= u64::from(*start) + u64::from(*size))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_by_name_and_number() {
        let text = "root:100000:65536\n# x\nann:200000:10\n1000:300000:5\nann:bad:1\n:::\n";
        assert_eq!(ranges(text, 1000, Some("ann")), [(200_000, 10), (300_000, 5)]);
        assert_eq!(ranges(text, 7, None), []);
        assert!(holds(&[(200_000, 10)], 200_009, 1) && !holds(&[(200_000, 10)], 200_009, 2));
        assert!(!holds(&[(0, u32::MAX)], u32::MAX, u32::MAX));
    }
}
