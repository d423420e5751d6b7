//! Feeds, JSON, badges and calendars, read back by independent parsers.
