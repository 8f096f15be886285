//! Values of config.json, which speaks the language of v1, in the language of v2.

use super::super::error::{Error, Result};

/// `cpu.shares` (2 to 262144, 1024 by default) as `cpu.weight` (1 to 10000, 100 by default); 0 stays "not set".
///
/// The quadratic curve through the three fixed points (2, 1), (1024, 100) and (262144, 10000) in logarithms, as runc
/// and crun have it since 2025; the linear one before gave 39 for the default.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
pub(in super::super) fn cpu_weight(shares: u64) -> u64 {
    match shares {
        0 => 0,
        1..=2 => 1,
        262_144.. => 10_000,
        _ => {
            let l = (shares as f64).log2();
            let exponent = (l * l + 125.0 * l) / 612.0 - 7.0 / 34.0;
            10f64.powf(exponent).ceil() as u64
        }
    }
}

/// `blkio.weight` (10 to 1000) as `io.weight` (1 to 10000), linearly.
pub(in super::super) fn io_weight(weight: u16) -> u64 {
    1 + u64::from(weight.saturating_sub(10)) * 9999 / 990
}

/// What `memory.swap.max` must be for a limit of memory plus swap.
///
/// `swap` and `limit` are as in config.json: -1 is unlimited, 0 not set. The answer is, too; `Some(0)` turns swap off.
///
/// # Errors
/// A total that is smaller than the limit of memory alone, or that has no such limit beside it.
pub(in super::super) fn swap_max(swap: i64, limit: i64) -> Result<Option<i64>> {
    let invalid = |why: &str| {
        Err(Error::Invalid {
            field: "linux.resources.memory.swap".to_owned(),
            value: swap.to_string(),
            why: why.to_owned(),
        })
    };
    match (swap, limit) {
        // Unlimited memory without a word on swap means unlimited both, as on v1.
        (0, -1) | (-1, _) => Ok(Some(-1)),
        (0, _) => Ok(None),
        (_, -1) => Ok(Some(swap)),
        (_, 0) => invalid("unable to set swap limit without memory limit"),
        _ if swap < limit => invalid("memory+swap limit should be >= memory limit"),
        _ => swap
            .checked_sub(limit)
            .map_or_else(|| invalid("the memory limit is no number of bytes"), |left| Ok(Some(left))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_follow_the_curve_of_the_field() {
        // Made with the function of github.com/opencontainers/cgroups 0.1.0.
        for (shares, weight) in [
            (0, 0),
            (1, 1),
            (2, 1),
            (3, 2),
            (10, 4),
            (50, 10),
            (100, 17),
            (256, 35),
            (512, 59),
            (1023, 100),
            (1024, 100),
            (1025, 101),
            (2048, 174),
            (4096, 303),
            (10_000, 627),
            (65_536, 3023),
            (262_143, 10_000),
            (262_144, 10_000),
            (u64::MAX, 10_000),
        ] {
            assert_eq!(cpu_weight(shares), weight, "{shares}");
        }
        let all =
            (0u64..270_000).fold(0u64, |sum, shares| sum.wrapping_mul(31).wrapping_add(cpu_weight(shares)));
        assert_eq!(all, 14_588_835_873_084_634_139);
    }

    #[test]
    fn io_weights_are_linear() {
        for (weight, want) in [(10, 1), (500, 4950), (1000, 10_000)] {
            assert_eq!(io_weight(weight), want);
        }
    }

    #[test]
    fn swap_is_what_is_left_of_the_total() {
        for (swap, limit, want) in [
            (200, 100, Some(100)),
            (100, 100, Some(0)),
            (-1, 100, Some(-1)),
            (0, 100, None),
            (0, -1, Some(-1)),
            (300, -1, Some(300)),
            (0, 0, None),
            (-1, 0, Some(-1)),
        ] {
            assert_eq!(swap_max(swap, limit).unwrap(), want, "{swap} {limit}");
        }
        assert!(swap_max(50, 100).unwrap_err().to_string().contains(">= memory limit"));
        for (swap, limit) in [(5, i64::MIN), (i64::MAX, -2)] {
            assert!(swap_max(swap, limit).unwrap_err().to_string().contains("is no number of bytes"));
        }
        assert!(swap_max(50, 0).unwrap_err().to_string().contains("without memory limit"));
    }
}
