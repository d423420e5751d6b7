//! What holds for any text and any order of events.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use watchbell::{
    domain::{IncidentStatus, event::EventKind},
    site::feeds::{Entry, Feed},
};

use super::{
    fixture::{self, World, at},
    xml,
};

/// Text as hostile as it gets: pieces of markup, controls, and whatever else there is.
fn text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("]]>".to_owned()),
        Just("</p>".to_owned()),
        Just("<script>".to_owned()),
        Just("<![CDATA[".to_owned()),
        Just("&#0;&#x1b;&amp;&lt".to_owned()),
        Just("\n\n- ".to_owned()),
        Just("```\n".to_owned()),
        Just("[a](https://x.example/?\"'<>&)".to_owned()),
        Just("**\u{0}\u{b}\u{202e}\u{fffe}".to_owned()),
        ".{0,20}",
        proptest::collection::vec(any::<char>(), 0..10).prop_map(|chars| chars.into_iter().collect()),
    ];
    proptest::collection::vec(piece, 0..6).prop_map(|pieces| pieces.concat())
}

/// A quiet site, one incident on it, and one update for each of `said`: a text, and how many
/// milliseconds after the one before it was recorded.
pub fn world(title: &str, name: &str, said: &[(String, u16)]) -> World {
    let mut world = fixture::quiet();
    title.clone_into(&mut world.site.title);
    world.names = [(fixture::id("api"), name.to_owned())].into_iter().collect();
    let start = at("2020-04-01T00:00:00Z");
    let mut incident = fixture::incident("trouble", "2020-04-01T00:00:00Z", "2020-04-01T00:00:00Z", Vec::new());
    incident.title = Some(title.into());
    let mut when = start;
    for (n, (text, pause)) in (0..).zip(said) {
        when += jiff::SignedDuration::from_millis(i64::from(*pause));
        let update = fixture::update(n, &when.to_string(), IncidentStatus::Identified, text);
        incident.updates.push(update.clone());
        world.tell(&incident, EventKind::Updated, &when.to_string(), &["api"], Some(update));
    }
    world.incidents = BTreeMap::from([(incident.id.clone(), incident)]);
    world
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn any_text_makes_documents_that_other_parsers_read(
        title in text(), name in text(), said in proptest::collection::vec((text(), 0_u16..3), 0..5),
    ) {
        let world = world(&title, &name, &said);
        for feed in [world.updates(None), world.history()] {
            for bytes in [feed.rss(), feed.atom()] {
                xml::flat(&String::from_utf8(bytes).unwrap());
            }
            let json: serde_json::Value = serde_json::from_slice(&feed.json()).unwrap();
            prop_assert_eq!(json["items"].as_array().unwrap().len(), feed.entries.len());
            feed.entries.iter().for_each(|entry| xml::is_kept(&entry.html));
        }
        for bytes in [world.summary(), world.incidents()] {
            serde_json::from_slice::<serde_json::Value>(&bytes).unwrap();
        }
    }

    #[test]
    fn edits_move_no_id_no_order_and_no_time_but_their_own(
        said in proptest::collection::vec((text(), 0_u16..3), 1..12), edited in any::<prop::sample::Index>(), new in text(),
    ) {
        let before = world("t", "n", &said);
        let mut after = before.clone();
        let incident = after.incidents.values_mut().next().unwrap();
        let update = &mut incident.updates[edited.index(said.len())];
        update.text = new.as_str().into();
        update.changed_at = at("2020-04-02T00:00:00Z");
        let (before, after) = (before.updates(None), after.updates(None));
        let ids = |feed: &Feed| feed.entries.iter().map(|entry| entry.id.clone()).collect::<Vec<_>>();
        prop_assert_eq!(ids(&before), ids(&after));
        let times: BTreeSet<_> = after.entries.iter().map(|entry| entry.updated_at).collect();
        prop_assert_eq!(times.len(), after.entries.len());
        // Within the millisecond, entries may make room for each other.
        let moved = |(a, b): &(&Entry, &Entry)| a.updated_at.as_millisecond() != b.updated_at.as_millisecond();
        prop_assert_eq!(before.entries.iter().zip(&after.entries).filter(moved).count(), 1);
    }
}
