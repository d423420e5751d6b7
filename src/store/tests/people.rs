//! Subscribers: coming, changing, leaving, being forgotten, and lists of them.

use std::{fs, sync::Arc};

use crate::{
    domain::{
        GroupId, Impact,
        event::EventKind,
        service::{Group, Rules, Service},
        subscriber::{Destination, Subscriber, SubscriberState},
    },
    store::{
        csv::{self, ImportError, Imported, LineError},
        testing::*,
        *,
    },
};

fn address(text: &str) -> Destination {
    Destination::parse(text).unwrap()
}

fn rules() -> Rules {
    let make = |id: &str, name: &str, group: Option<&str>| {
        Arc::new(Service {
            id: service(id),
            name: name.to_owned(),
            group: group.map(|group| GroupId::new(group).unwrap()),
            description: String::new(),
            depends_on: Vec::new(),
            objective: None,
            acceptable_downtime: None,
            owners: Vec::new(),
            max_impact: Impact::Critical,
            notify_after: std::time::Duration::ZERO,
            checks: Vec::new(),
        })
    };
    Rules {
        services: vec![make("api", "Public API", Some("public")), make("db", "Database", None)],
        groups: vec![Group { id: GroupId::new("public").unwrap(), name: "Public services".to_owned() }],
        ..Rules::default()
    }
}

fn import(store: &mut Store, text: &str) -> Imported {
    csv::import(store, text.as_bytes(), &rules(), false, at(100)).unwrap()
}

fn errors(text: &[u8]) -> Vec<String> {
    csv::parse(text, &rules()).errors.iter().map(ToString::to_string).collect()
}

fn only(store: &Store) -> Subscriber {
    let mut all = store.subscribers(&Filter::default()).unwrap();
    assert_eq!(all.len(), 1);
    all.remove(0)
}

#[test]
fn an_address_is_there_once_however_it_is_written() {
    let (_folder, mut store) = store();
    let first = subscriber(1, &["api"]);
    assert_eq!(store.add_subscriber(&first).unwrap(), Added { id: first.id, is_new: true });
    let again = Subscriber { address: address("Reader1@Example.ORG"), created_at: at(50), ..subscriber(2, &["db"]) };
    assert_eq!(store.add_subscriber(&again).unwrap(), Added { id: first.id, is_new: false });
    assert_eq!(store.add_subscriber(&first).unwrap(), Added { id: first.id, is_new: false });
    store.add_subscriber(&again).unwrap();
    let expected = Subscriber { id: first.id, created_at: first.created_at, ..again.clone() };
    assert_eq!(only(&store), expected);
    assert_eq!(store.subscriber(&first.id).unwrap(), Some(expected.clone()));
    assert_eq!(store.subscriber_by_address(&address("READER1@example.org")).unwrap(), Some(expected));
    assert_eq!(store.subscriber(&again.id).unwrap(), None);
}

#[test]
fn lists_are_by_state_service_and_part_of_the_address() {
    let (_folder, mut store) = store();
    store.set_services(&rules()).unwrap();
    let mut people = [subscriber(1, &[]), subscriber(2, &["api"]), subscriber(3, &["db"]), subscriber(4, &["db"])];
    people[2].wants.groups.push(GroupId::new("public").unwrap());
    people[3].state = SubscriberState::Pending;
    for person in &people {
        store.add_subscriber(person).unwrap();
    }
    let list = |filter: &Filter| store.subscribers(filter).unwrap();
    assert_eq!(list(&Filter::default()), people);
    let of_api = Filter { service: Some(service("api")), ..Filter::default() };
    assert_eq!(list(&of_api), people[..3]);
    assert_eq!(list(&Filter { state: Some(SubscriberState::Pending), ..Filter::default() }), people[3..]);
    assert_eq!(list(&Filter { text: Some("READER2".to_owned()), ..of_api }), people[1..2]);
    assert_eq!(store.subscriber_counts().unwrap(), [1, 3, 0]);
}

#[test]
fn who_left_is_known_by_a_hash_for_thirty_days() {
    let (_folder, mut store) = store();
    store.add_subscriber(&subscriber(1, &[])).unwrap();
    let gone = address("reader1@example.org");
    assert!(store.remove_address(&gone, at(0)).unwrap());
    assert!(!store.remove_address(&gone, at(0)).unwrap());
    assert!(store.has_left(&address("READER1@example.org")).unwrap());
    assert_eq!(import(&mut store, "reader1@example.org\n"), Imported { left: 1, ..Imported::default() });
    store.tidy(at(31 * 86_400)).unwrap();
    assert!(!store.has_left(&gone).unwrap());
    assert_eq!(import(&mut store, "reader1@example.org\n").added, 1);
}

#[test]
fn who_comes_back_by_themselves_is_welcome_at_once() {
    let (_folder, mut store) = store();
    let reader = subscriber(1, &[]);
    store.add_subscriber(&reader).unwrap();
    store.remove_subscriber(&reader.id, at(0)).unwrap();
    assert!(store.add_subscriber(&reader).unwrap().is_new);
    assert!(!store.has_left(&reader.address).unwrap());
}

#[test]
fn forgetting_leaves_nothing_in_any_file() {
    let (folder, mut store) = store();
    let reader = Subscriber { address: address("findable-name@example.org"), ..subscriber(1, &[]) };
    store.add_subscriber(&reader).unwrap();
    let incident = incident("2026-11-21-api", 1, &["api"]);
    store.commit(&commit(&[&incident], &[&event(20, EventKind::Opened, &incident)])).unwrap();
    let delivery = claim(&mut store, 1, at(60), 9).unwrap()[0].pending[0].delivery;
    let reply = "550 <findable-name@example.org> unknown".to_owned();
    let result = outbox::Settlement::Retry { until: at(70), reply };
    store.settle(&[outbox::Settled { delivery, result }], at(60)).unwrap();
    let is_found = || {
        let found = |name: &str| {
            let bytes = fs::read(folder.path().join(name)).unwrap_or_default();
            bytes.windows(13).any(|part| part == b"findable-name")
        };
        found("watchbell.db") || found("watchbell.db-wal")
    };
    assert!(is_found());
    assert!(store.forget(&reader.address, at(80)).unwrap());
    assert!(!is_found());
    assert!(!store.has_left(&reader.address).unwrap());
    assert!(!store.forget(&reader.address, at(80)).unwrap());
    assert_eq!(store.outbox_counts().unwrap(), outbox::Counts::default());

    store.add_subscriber(&reader).unwrap();
    store.remove_subscriber(&reader.id, at(90)).unwrap();
    assert!(store.forget(&reader.address, at(91)).unwrap(), "the hash was a trace");
}

#[test]
fn a_bare_list_of_addresses_is_enough() {
    let (_folder, mut store) = store();
    let text = "\u{feff}# people\r\nann@example.org\r\n\r\n\"bob@example.org\"\r\nANN@example.org\r\n";
    assert_eq!(import(&mut store, text), Imported { added: 2, duplicates: 1, ..Imported::default() });
    let ann = store.subscriber_by_address(&address("ann@example.org")).unwrap().unwrap();
    assert_eq!((ann.state, ann.confirmed_at, ann.created_at), (SubscriberState::Confirmed, Some(at(100)), at(100)));
    assert_eq!(import(&mut store, text), Imported { same: 2, duplicates: 1, ..Imported::default() });
}

#[test]
fn a_bare_list_keeps_what_known_people_chose() {
    let (_folder, mut store) = store();
    let chosen = subscriber(1, &["api"]);
    let suspended = Subscriber { state: SubscriberState::Suspended, ..subscriber(2, &[]) };
    let pending = Subscriber { state: SubscriberState::Pending, confirmed_at: None, ..subscriber(3, &[]) };
    for person in [&chosen, &suspended, &pending] {
        store.add_subscriber(person).unwrap();
    }
    let imported = import(&mut store, "reader1@example.org\nreader2@example.org\nreader3@example.org\n");
    assert_eq!(imported, Imported { updated: 1, same: 2, ..Imported::default() });
    let confirmed = Subscriber { state: SubscriberState::Confirmed, confirmed_at: Some(at(100)), ..pending };
    assert_eq!(store.subscribers(&Filter::default()).unwrap(), [chosen, suspended, confirmed]);
}

#[test]
fn an_export_can_be_imported_again() {
    let (_folder, mut store) = store();
    let mut picky = subscriber(1, &["api", "db"]);
    picky.wants.groups.push(GroupId::new("public").unwrap());
    picky.wants.maintenance = false;
    picky.wants.min_impact = Impact::Major;
    picky.language = Some("pt-BR".to_owned());
    picky.timezone = Some("Europe/Berlin".to_owned());
    let people = [
        picky,
        Subscriber { state: SubscriberState::Suspended, ..subscriber(2, &[]) },
        Subscriber { state: SubscriberState::Pending, confirmed_at: None, ..subscriber(3, &[]) },
        // What would be a comment if it stood bare.
        Subscriber { address: Destination::parse("#news@example.org").unwrap(), ..subscriber(4, &[]) },
        Subscriber { address: Destination::parse("https://example.org/a,b?c=\"d\"").unwrap(), ..subscriber(5, &[]) },
    ];
    for person in &people {
        store.add_subscriber(person).unwrap();
    }
    let mut out = Vec::new();
    assert_eq!(csv::export(&store, &Filter::default(), &mut out).unwrap(), 5);
    let text = String::from_utf8(out.clone()).unwrap();
    assert!(
        text.starts_with(
            "email,services,groups,kinds,min_impact,language,timezone,state,created_at,confirmed_at,webhook\n\
         \"#news@example.org\","
        ) && text.contains(
            "\nreader1@example.org,api db,public,incidents,major,pt-BR,Europe/Berlin,confirmed,2026-11-21T00:00:00Z,"
        ),
        "{text}"
    );
    assert_eq!(import(&mut store, &text), Imported { same: 5, ..Imported::default() });

    let (_other_folder, mut other) = testing::store();
    assert_eq!(import(&mut other, &text).added, 5);
    let mut again = Vec::new();
    csv::export(&other, &Filter::default(), &mut again).unwrap();
    assert_eq!(again, out);
}

#[test]
fn cachets_columns_are_understood() {
    let (_folder, mut store) = store();
    let text = "id,email,verify_code,global,verified_at,created_at,subscriptions\n\
                1,ann@example.org,abc,1,2024-01-02 10:00:00,2024-01-01 10:00:00,\n\
                2,bob@example.org,def,0,,2024-01-01 10:00:00,\n\
                3,eve@example.org,ghi,0,2024-01-03 10:00:00,2024-01-01 10:00:00,\"Public API,Database\"\n";
    let imported = import(&mut store, text);
    assert_eq!((imported.added, imported.ignored_columns), (3, vec!["id".to_owned(), "verify_code".to_owned()]));
    let all = store.subscribers(&Filter::default()).unwrap();
    assert_eq!(all[0].confirmed_at.unwrap().to_string(), "2024-01-02T10:00:00Z");
    assert_eq!(all[1].state, SubscriberState::Pending, "who never confirmed there is not written to here");
    assert_eq!(all[2].wants.services, [service("api"), service("db")]);
}

#[test]
fn statuspages_columns_are_understood() {
    let (_folder, mut store) = store();
    let text = "Mode;Email;Phone Number;Endpoint;Components;Quarantined At\n\
                email;ann@example.org;;;Database;\n\
                sms;;+15550100;;;\n\
                email;bob@example.org;;;;2024-01-01T00:00:00Z\n";
    let imported = import(&mut store, text);
    assert_eq!((imported.added, imported.other_kinds), (2, 1));
    let all = store.subscribers(&Filter::default()).unwrap();
    assert_eq!(all[0].wants.services, [service("db")]);
    assert_eq!((all[0].state, all[1].state), (SubscriberState::Confirmed, SubscriberState::Suspended));
}

#[test]
fn all_that_is_wrong_with_a_file_is_said_at_once_with_its_line() {
    let text = "email,services,kinds,min_impact,language,timezone,state,created_at\n\
                ann@example.org,api,incidents,major,de,Europe/Berlin,confirmed,2026-01-01T00:00:00Z\n\
                not-an-address\n\
                ,api\n\
                bob@example.org,nope,parties,huge,!,Mars/Base,asleep,yesterday\n\
                eve@example.org,,,,,,,,too,many\n";
    assert_eq!(
        errors(text.as_bytes()),
        [
            "line 3: `not-an-address` is no address: it is not of the form `name@example.org`",
            "line 4: there is no address on it",
            "line 5: there is no service `nope` in the config",
            "line 5: `parties` is not a kind of news: write `incidents` or `maintenance`",
            "line 5: `huge` is not an impact: write `none`, `minor`, `major` or `critical`",
            "line 5: `!` is not a language: write a tag such as `de` or `pt-BR`",
            "line 5: `Mars/Base` is not a time zone: write a name such as `Europe/Berlin`",
            "line 5: `asleep` is not a state: write `pending`, `confirmed` or `suspended`",
            "line 5: `yesterday` is not a time: write it as `2026-11-21T10:15:00Z`",
            "line 6: it has 10 fields, the header has 8",
        ]
    );
}

#[test]
fn a_bad_line_stops_all_unless_it_may_be_skipped() {
    let (_folder, mut store) = store();
    let text = b"ann@example.org\nnobody\nbob@example.org\n";
    let Err(ImportError::Lines(lines)) = csv::import(&mut store, text, &rules(), false, at(0)) else { panic!() };
    assert_eq!(lines.iter().map(|line| line.line).collect::<Vec<_>>(), [2]);
    assert!(store.subscribers(&Filter::default()).unwrap().is_empty());
    let imported = csv::import(&mut store, text, &rules(), true, at(0)).unwrap();
    assert_eq!((imported.added, imported.skipped.len()), (2, 1));
}

#[test]
fn files_in_a_wrong_encoding_are_told_apart() {
    assert_eq!(errors(b"\xff\xfea\0@\0"), ["line 1: the file is UTF-16: save it as UTF-8"]);
    let found = errors(b"email,language\nann@example.org,\xe9\n");
    assert_eq!(found, ["line 2: it is not valid UTF-8: save the file as UTF-8"]);
}

#[test]
fn an_unclosed_quote_is_an_error_of_its_line() {
    let parsed = csv::parse(b"email\nann@example.org\n\"bob@example.org\neve@example.org\n", &rules());
    assert_eq!(parsed.candidates.len(), 1);
    assert!(matches!(parsed.errors.as_slice(), [LineError { line: 3, .. }]), "{:?}", parsed.errors);
}

#[test]
fn an_empty_file_imports_nobody() {
    let (_folder, mut store) = store();
    for text in ["", "\n\n", "email\n", "# nobody\n"] {
        assert_eq!(import(&mut store, text), Imported::default(), "{text:?}");
    }
}
