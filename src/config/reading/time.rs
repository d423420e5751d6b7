//! Dates and times of TOML as moments.

use jiff::{Timestamp, civil, tz::TimeZone};

use crate::config::values::Wrong;

/// The moment that a TOML date and time means; without an offset, in `zone`. A time that the zone
/// skips is taken as the same time after the gap, one that it has twice as the first.
pub(super) fn moment(at: &toml::value::Datetime, zone: &TimeZone) -> Result<Timestamp, Wrong> {
    let (Some(date), Some(time)) = (at.date, at.time) else {
        return Err(Wrong::new("this is not a date with a time", "write both: `2026-11-21T10:15:00Z`"));
    };
    let wrong = || Wrong::new("this is not a usable time", "write one since 1970: `2026-11-21T10:15:00Z`");
    let small = |number: u8| i8::try_from(number).map_err(|_| wrong());
    let date = civil::Date::new(i16::try_from(date.year).map_err(|_| wrong())?, small(date.month)?, small(date.day)?)
        .map_err(|_| wrong())?;
    // A leap second counts as the one before it.
    let second = small(time.second.unwrap_or(0).min(59))?;
    let nanosecond = i32::try_from(time.nanosecond.unwrap_or(0)).map_err(|_| wrong())?;
    let time = civil::Time::new(small(time.hour)?, small(time.minute)?, second, nanosecond).map_err(|_| wrong())?;
    let zone = match at.offset {
        None => zone.clone(),
        Some(toml::value::Offset::Z) => TimeZone::UTC,
        Some(toml::value::Offset::Custom { minutes }) => {
            jiff::tz::Offset::from_seconds(i32::from(minutes) * 60).map_err(|_| wrong())?.to_time_zone()
        }
    };
    let moment = zone.to_ambiguous_timestamp(date.to_datetime(time)).compatible().map_err(|_| wrong())?;
    if moment < Timestamp::UNIX_EPOCH {
        return Err(wrong());
    }
    Ok(crate::clock::to_millis(moment))
}
