//! Points in time as the protocol writes them.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::proto::well_known::Timestamp;

/// A protobuf timestamp. Times before 1970 become 1970.
pub fn timestamp(time: SystemTime) -> Timestamp {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp {
        seconds: i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(since.subsec_nanos()).unwrap_or(0),
    }
}
