//! Values on their way into rows and out of them. No SQL here.

use std::{error::Error, str::FromStr};

use jiff::Timestamp;
use rusqlite::{
    ToSql,
    types::{FromSql, FromSqlError, FromSqlResult, ToSqlOutput, ValueRef},
};
use serde::{Serialize, de::DeserializeOwned};

use crate::domain::{Impact, subscriber::SubscriberState};

/// An instant, stored as milliseconds since 1970 UTC.
#[derive(Clone, Copy, Debug)]
pub(super) struct At(pub(super) Timestamp);

impl ToSql for At {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(self.0.as_millisecond().into())
    }
}

impl FromSql for At {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        Timestamp::from_millisecond(value.as_i64()?).map(Self).map_err(FromSqlError::other)
    }
}

/// Anything that reads back from its word: ids, statuses.
pub(super) struct Word<T>(pub(super) T);

impl<T> FromSql for Word<T>
where
    T: FromStr,
    T::Err: Error + Send + Sync + 'static,
{
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        value.as_str()?.parse().map(Self).map_err(FromSqlError::other)
    }
}

/// Anything stored as JSON text.
pub(super) struct Json<T>(pub(super) T);

impl<T: DeserializeOwned> FromSql for Json<T> {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        serde_json::from_str(value.as_str()?).map(Self).map_err(FromSqlError::other)
    }
}

/// The JSON text of a value.
pub(super) fn json<T: Serialize>(value: &T) -> rusqlite::Result<String> {
    serde_json::to_string(value).map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))
}

impl FromSql for SubscriberState {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        match value.as_str()? {
            "pending" => Ok(Self::Pending),
            "confirmed" => Ok(Self::Confirmed),
            "suspended" => Ok(Self::Suspended),
            _ => Err(FromSqlError::InvalidType),
        }
    }
}

/// An impact as a number that SQL can compare.
pub(super) const fn rank(impact: Impact) -> i64 {
    match impact {
        Impact::None => 0,
        Impact::Minor => 1,
        Impact::Major => 2,
        Impact::Critical => 3,
    }
}

/// The impact of a number made by [`rank`].
pub(super) const fn impact(rank: i64) -> Impact {
    match rank {
        ..=0 => Impact::None,
        1 => Impact::Minor,
        2 => Impact::Major,
        3.. => Impact::Critical,
    }
}

/// A count that SQL gave: never negative.
pub(super) fn count(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

/// A count for SQL: nothing of ours comes near the limit.
pub(super) fn int(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
