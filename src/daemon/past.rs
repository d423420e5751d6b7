//! Looks at a start whether the published site shows what the store does not know: somebody put an
//! older copy of the store in its place. What follows from that is [`domain::past`](crate::domain::past).

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde::Deserialize;

use crate::{
    config::Config,
    domain::{
        EventId,
        past::{Entry, Past},
    },
    fsio,
    store::{Store, StoreError},
};

/// The published feed of events; it lists no more than some hundred.
const FEED: &str = "feed.json";
/// No feed of ours is longer.
const MAX_BYTES: u64 = 64 << 20;

#[derive(Deserialize)]
struct Feed {
    items: Vec<Item>,
}

#[derive(Deserialize)]
struct Item {
    id: String,
    url: String,
    date_published: Timestamp,
    #[serde(default)]
    tags: Vec<String>,
}

/// Compares the site with the store, whose feed ids begin with `authority`, and takes down what was told
/// that the store does not know. A site that is not there, or cannot be read, shows nothing.
///
/// # Errors
/// If the store cannot be used.
pub fn heed(config: &Config, store: &mut Store, authority: &str, now: Timestamp) -> Result<(), StoreError> {
    let path = config.site.output.join(FEED);
    let text = match fsio::read_text(&path, MAX_BYTES) {
        Ok(text) => text,
        Err(error) => {
            tracing::debug!("no site to compare the store with: {}: {error}", path.display());
            return Ok(());
        }
    };
    let entries = entries(&text, authority);
    // What an earlier start found is no news: the site may not have been published since.
    let found = store.past()?;
    let mut known = BTreeSet::new();
    for entry in &entries {
        if found.as_ref().is_some_and(|found| found.has_found(&entry.event)) || store.knows_event(&entry.event)? {
            known.insert(entry.event);
        }
    }
    let Some(past) = Past::find(&entries, |event| known.contains(event), now) else { return Ok(()) };
    let dropped = store.heed_past(&past, now)?;
    tracing::warn!(
        dropped,
        "the published site shows what the store does not know: an older store was put in its place; what the site \
         shows as told is not told again, and what waited in the older store is not sent"
    );
    Ok(())
}

/// What a feed shows of events under `authority`: that of another store says nothing of this one.
fn entries(text: &str, authority: &str) -> Vec<Entry> {
    let Ok(feed) = serde_json::from_str::<Feed>(text) else { return Vec::new() };
    let start = format!("{authority}:event/");
    let entry = |item: Item| {
        let event: EventId = item.id.strip_prefix(&start)?.parse().ok()?;
        let incident = item.url.trim_end_matches('/').rsplit('/').next()?.parse().ok()?;
        let kind = item.tags.iter().find_map(|tag| tag.parse().ok())?;
        Some(Entry { event, incident, kind, at: item.date_published })
    };
    feed.items.into_iter().filter_map(entry).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::event::EventKind;

    #[test]
    fn a_feed_says_which_events_it_shows_and_another_store_s_says_nothing() {
        let id = "0193505e-0000-7000-8000-000000000001";
        let feed = format!(
            "{{\"version\":\"1.1\",\"items\":[{{\"id\":\"tag:s.example.org,2026-11-21:event/{id}\",\
             \"url\":\"https://s.example.org/base/incidents/2026-11-21-api/\",\"date_published\":\"2026-11-21T10:00:00Z\",\
             \"tags\":[\"resolved\"]}}]}}"
        );
        let found = entries(&feed, "tag:s.example.org,2026-11-21");
        let [entry] = &found[..] else { panic!("{found:?}") };
        assert_eq!((entry.incident.as_str(), entry.kind), ("2026-11-21-api", EventKind::Resolved));
        assert_eq!(entry.event.to_string(), id);
        assert!(entries(&feed, "tag:s.example.org,2026-11-22").is_empty());
        assert!(entries("{\"items\":[{}]}", "tag:x,2026-01-01").is_empty());
        assert!(entries("half a fee", "tag:x,2026-01-01").is_empty());
    }
}
