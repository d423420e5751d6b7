//! The audit finds what is wrong: an honest round passes, and every lie about it is told.

use std::{fs, time::Duration};

use jiff::{SignedDuration, Timestamp};
use rusqlite::Connection;

use super::{
    audit::{BY_HAND, audit},
    people::FAITHFUL,
    record::Record,
    round::{Ended, live_through},
    site,
    truth::Truth,
};

/// A lie: how it changes what is said or what is true, and a part of what the audit says of it.
type Lie = (&'static str, fn(&mut Truth, &mut Record), &'static str);

const LATER: SignedDuration = SignedDuration::from_secs(2);

fn at_work(record: &Record) -> usize {
    record.incidents.iter().position(|incident| incident.id != BY_HAND).unwrap()
}

const LIES: [Lie; 26] = [
    (
        "the relay loses a mail that it took",
        |_, record| {
            let id = record.mails.iter().find(|mail| mail.to == FAITHFUL[0]).unwrap().id.clone();
            record.mails.retain(|mail| mail.id != id);
        },
        "is lost",
    ),
    (
        "a mail goes out twice without any kill",
        |truth, record| {
            truth.kills.clear();
            record.mails.push(record.mails[0].clone());
        },
        "nothing was killed in between",
    ),
    (
        "the copy of a mail has another id",
        |_, record| {
            let mut copy = record.mails.iter().find(|mail| mail.subject.contains("Resolved: ")).unwrap().clone();
            copy.id = "another".into();
            record.mails.push(copy);
        },
        "heard the end of",
    ),
    (
        "the copy of a mail has another text",
        |truth, record| {
            let mut copy = record.mails[0].clone();
            copy.text.push('!');
            truth.kills.push(copy.at);
            record.mails.push(copy);
        },
        "differ",
    ),
    (
        "a mail that was taken is told again by another that says more",
        |_, record| {
            let (told, other) = (record.mails[0].id.clone(), record.mails[1].id.clone());
            let delivery = record.deliveries.iter_mut().find(|delivery| delivery.id == told).unwrap();
            (delivery.state, delivery.folded_into) = ("folded".into(), Some(other));
        },
        "was taken, and is folded",
    ),
    (
        "a kill makes more copies than can be on their way",
        |truth, record| {
            let last = record.mails.last().unwrap().clone();
            truth.kills = vec![last.at];
            record.mails.extend(vec![last; 33]);
        },
        "made 33 copies",
    ),
    ("the end is told before the beginning", |_, record| record.mails.reverse(), "after its end"),
    (
        "a mail to somebody who left long ago",
        |truth, record| {
            let mail = record.mails.last().unwrap();
            truth.people.get_mut(&mail.to).unwrap().left_at = Some(mail.at - LATER);
        },
        "left, and was written to",
    ),
    ("a mail to somebody who never asked", |_, record| record.mails[0].to = "eve@example.org".into(), "never asked"),
    ("who joined is gone", |_, record| record.subscribers.retain(|_, address| address != FAITHFUL[1]), "is not listed"),
    (
        "who left is back",
        |truth, _| {
            let person = truth.people.get_mut(FAITHFUL[1]).unwrap();
            (person.leaving_at, person.left_at) = (Some(Timestamp::now()), Some(Timestamp::now()));
        },
        "is still listed",
    ),
    ("an incident is lost", |_, record| drop(record.incidents.remove(at_work(record))), "outages"),
    (
        "an incident is there twice",
        |_, record| {
            let mut twin = record.incidents[at_work(record)].clone();
            twin.id.push_str("-2");
            record.incidents.push(twin);
        },
        "outages",
    ),
    (
        "an incident begins too late",
        |truth, record| {
            // A kill close by would excuse it: what it took was never written down.
            truth.kills.clear();
            let at = at_work(record);
            record.incidents[at].started_at += SignedDuration::from_millis(300);
        },
        "but the first such answer was",
    ),
    (
        "an incident begins too early",
        |_, record| {
            let at = at_work(record);
            record.incidents[at].started_at -= LATER;
        },
        "but the next answers were others",
    ),
    (
        "an incident never ends",
        |_, record| {
            let at = at_work(record);
            record.incidents[at].resolved_at = None;
        },
        "was never resolved",
    ),
    (
        "a span is missing",
        |_, record| {
            let spans = record.spans.get_mut("api").unwrap();
            spans.remove(spans.len() / 2);
        },
        "a span ends",
    ),
    (
        "a span says that all was well",
        |_, record| {
            let spans = record.spans.values_mut().flatten();
            spans.filter(|span| span.status == "major_outage").for_each(|span| span.status = "operational".into());
        },
        "by its spans",
    ),
    (
        "a word of the operator is lost",
        |_, record| {
            let by_hand = record.incidents.iter_mut().find(|incident| incident.id == BY_HAND).unwrap();
            by_hand.texts.pop();
        },
        "stands 0 times",
    ),
    ("an incident has no file", |_, record| drop(record.notes.pop_first()), "has no file"),
    (
        "a half-made file is left among the notes",
        |_, record| record.notes.extend([".2026-11-21-api.toml.1234-0.wb-tmp".to_owned()]),
        "is left among the notes",
    ),
    ("an event was told to nobody", |_, record| record.deliveries.clear(), "has no delivery"),
    ("a delivery was dropped", |_, record| record.deliveries[0].state = "dropped".into(), "is dropped"),
    (
        "a delivery is told by one that never left",
        |_, record| {
            record.deliveries[0].state = "folded".into();
            record.deliveries[0].folded_into = Some("nothing".to_owned());
        },
        "which was not sent",
    ),
    ("two deliveries of one event", |_, record| record.deliveries.push(record.deliveries[0].clone()), "two deliveries"),
    ("two events of one id", |_, record| record.events.push(record.events[0].clone()), "two events"),
];

#[test]
fn whatever_is_wrong_is_found() {
    let Ended { report, truth, record, folder, relay } = live_through(3, 2);
    let folder = folder.path();
    assert_eq!(report.wrong, Vec::<String>::new());
    for (lie, tell, found) in LIES {
        let (mut truth, mut record) = (Truth { stalls: 0, ..truth.clone() }, record.clone());
        tell(&mut truth, &mut record);
        let said = audit(&truth, &record);
        assert!(said.iter().any(|line| line.contains(found)), "{lie}: {said:#?}");
    }

    // The same with what is on the disk.
    let db = Connection::open(folder.join("watchbell.db")).unwrap();
    db.busy_timeout(Duration::from_secs(5)).unwrap();
    db.execute("UPDATE span SET status = 'operational' WHERE status = 'major_outage'", []).unwrap();
    db.execute("DELETE FROM delivery WHERE no = (SELECT min(no) FROM delivery)", []).unwrap();
    drop(db);
    let said = audit(&truth, &Record::read(folder, &relay)).join("\n");
    assert!(said.contains("by its spans") && said.contains("has no delivery"), "{said}");
    let page = folder.join("public/index.html");
    let text = fs::read_to_string(&page).unwrap();
    fs::write(&page, &text[..text.len() / 2]).unwrap();
    assert!(site::torn(folder).join("\n").contains("index.html is not whole"));
}
