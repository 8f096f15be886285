//! Lists of numbers such as `0-3,7` (cpuset(7), "List format"), for CPUs and memory nodes.

use super::{PlanError, Result};

/// The largest number taken: the most CPUs a kernel can be built for.
const MAX: u32 = 8191;

/// Turns a list into a mask in which bit N of the whole is number N. Spaces around parts are allowed.
///
/// # Errors
/// A part that is no number or range, a range that runs backwards, a number above 8191.
pub fn mask(path: &str, list: &str) -> Result<Vec<u64>> {
    let bad = |part: &str| {
        PlanError::at(
            path,
            format!("{part:?} in {list:?} is not a number or range; expected a list such as 0-3,7"),
        )
    };
    let number = |text: &str| -> Option<u32> {
        let text = text.trim();
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse().ok().filter(|number| digits && *number <= MAX)
    };
    let mut mask: Vec<u64> = Vec::new();
    for part in list.split(',') {
        let (first, last) = match part.split_once('-') {
            Some((first, last)) => (number(first), number(last)),
            None => (number(part), number(part)),
        };
        let (Some(first), Some(last)) = (first, last) else { return Err(bad(part)) };
        if first > last {
            return Err(bad(part));
        }
        for bit in first..=last {
            let word = (bit / 64) as usize;
            if mask.len() <= word {
                mask.resize(word + 1, 0);
            }
            mask[word] |= 1 << (bit % 64);
        }
    }
    Ok(mask)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists() {
        for (list, expected) in [("0", vec![1]), ("0-3,7", vec![0x8f]), ("0, 1", vec![3]), ("64", vec![0, 1])]
        {
            assert_eq!(mask("x", list).as_deref(), Ok(expected.as_slice()), "{list}");
        }
        for list in ["", "a", "3-1", "1-", "-1", "+1", "8192", "1,,2", "0-99999999999"] {
            assert!(mask("x", list).is_err(), "{list}");
        }
    }
}
