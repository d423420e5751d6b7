//! What a webhook is sent: the event as JSON, of the services that its owner follows and of no others.
//! `watchbell schema webhook` describes it.
//!
//! It depends on the frozen event alone, so that a call that is made again is a copy. Members may be
//! added; none changes its meaning or goes.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use serde_json::{Value, json};
use url::Url;

use crate::{
    config::Config,
    domain::{
        EventId, GroupId, Impact, IncidentId, IncidentStatus, ServiceId, ServiceStatus, SubscriberId,
        asking::LetterKind,
        event::{Event, EventKind},
        id::UpdateId,
        incident::{Affected, Update},
        subscriber::{Choice, Subscriber, Wants},
    },
    notify::{
        compose::{Tokens, letter::own_view},
        ledger::Letter,
        plan::News,
        recipient::{Directory, Recipient},
    },
    site::{
        catalog::CatalogError,
        words::{Names, Words},
    },
};

/// How long a link to one's choice is good.
pub const MANAGE_FOR: SignedDuration = SignedDuration::from_hours(30 * 24);

/// Why nothing can be sent.
#[derive(Debug, thiserror::Error)]
pub enum PayloadError {
    /// A catalogue.
    #[error(transparent)]
    Words(#[from] CatalogError),
    /// A link.
    #[error("a link cannot be made: {0}")]
    Link(#[from] url::ParseError),
    /// A value that is no JSON.
    #[error("the JSON cannot be written: {0}")]
    Json(#[from] serde_json::Error),
    /// A message without an event.
    #[error("there is nothing to tell")]
    Nothing,
}

/// Writes payloads: words, and the site's facts, loaded once.
#[derive(Debug)]
pub struct Writer {
    /// By language tag, in lower case.
    words: BTreeMap<String, Words>,
    site_words: Words,
    names: Names,
    directory: Directory,
    page: Page,
    site_url: Url,
    server_url: Url,
}

/// One message to be written.
#[derive(Clone, Copy, Debug)]
pub struct Draft<'a> {
    /// What it is.
    pub news: News,
    /// To whom.
    pub subscriber: &'a Subscriber,
    /// What it tells of, oldest first.
    pub events: &'a [&'a Event],
    /// Leaves without logging in.
    pub unsubscribe_token: &'a str,
}

#[derive(Serialize)]
struct Message<T> {
    #[serde(rename = "type")]
    kind: String,
    timestamp: Timestamp,
    data: T,
}

/// Whose status this is.
#[derive(Clone, Debug, Serialize)]
struct Page {
    name: String,
    url: String,
}

#[derive(Serialize)]
struct Announced<'a> {
    page: &'a Page,
    event: Told,
    incident: Shown,
    subscription: Subscription,
}

/// The event under which it is told.
#[derive(Serialize)]
struct Told {
    id: EventId,
    at: Timestamp,
    /// All that it tells of, oldest first: what happened while nothing could be told is one message.
    tells: Vec<EventKind>,
}

/// The incident as its reader sees it.
#[derive(Serialize)]
struct Shown {
    id: IncidentId,
    url: String,
    title: String,
    status: IncidentStatus,
    impact: Impact,
    started_at: Timestamp,
    resolved_at: Option<Timestamp>,
    services: Vec<ShownService>,
    /// What people say with it, oldest first.
    updates: Vec<ShownUpdate>,
}

#[derive(Serialize)]
struct ShownService {
    id: ServiceId,
    name: String,
    status: ServiceStatus,
    started_at: Timestamp,
    resolved_at: Option<Timestamp>,
    downtime_s: f64,
}

#[derive(Serialize)]
struct ShownUpdate {
    id: UpdateId,
    at: Timestamp,
    status: IncidentStatus,
    text: String,
    next_update_at: Option<Timestamp>,
}

#[derive(Serialize)]
struct Subscription {
    id: SubscriberId,
    unsubscribe_url: String,
}

#[derive(Serialize)]
struct Asked<'a> {
    page: &'a Page,
    subscription: Chosen<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    confirm_url: Option<String>,
    /// Opens a page where they say that nobody is to ask them again.
    #[serde(skip_serializing_if = "Option::is_none")]
    stop_url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    manage_url: Option<String>,
    /// Until when the link is good.
    good_until: Timestamp,
    /// Incidents of theirs that go on; of a welcome alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    incidents: Option<Vec<Shown>>,
}

#[derive(Serialize)]
struct Chosen<'a> {
    id: SubscriberId,
    services: &'a [ServiceId],
    groups: &'a [GroupId],
    kinds: Vec<&'static str>,
    min_impact: Impact,
    #[serde(skip_serializing_if = "Option::is_none")]
    unsubscribe_url: Option<String>,
}

impl Writer {
    /// Loads what payloads are made of.
    ///
    /// # Errors
    /// If a catalogue cannot be used.
    pub fn new(config: &Config) -> Result<Self, PayloadError> {
        let overrides = config.site.templates.as_deref();
        let load = |language: &str| {
            Ok::<_, CatalogError>(Words::load(language, overrides)?.with_site_language(&config.site.language))
        };
        let mut words = BTreeMap::new();
        for language in &config.site.languages {
            words.insert(language.to_ascii_lowercase(), load(language)?);
        }
        Ok(Self {
            words,
            site_words: load(&config.site.language)?,
            names: Names::of(&config.rules),
            directory: Directory::new(&config.rules),
            page: Page { name: config.site.title.clone(), url: config.site.url.to_string() },
            site_url: config.site.url.clone(),
            server_url: config.server.url.clone(),
        })
    }

    /// What telling needs to know of the services.
    #[must_use]
    pub fn directory(&self) -> &Directory {
        &self.directory
    }

    /// The news, as bytes.
    ///
    /// # Errors
    /// If there is nothing to tell.
    pub fn news(&self, draft: &Draft<'_>) -> Result<Vec<u8>, PayloadError> {
        let last = *draft.events.last().ok_or(PayloadError::Nothing)?;
        let subscriber = draft.subscriber;
        let words = self.words(subscriber.language.as_deref());
        let data = Announced {
            page: &self.page,
            event: Told { id: last.id, at: last.at, tells: draft.events.iter().map(|event| event.kind).collect() },
            incident: self.shown(words, &subscriber.wants, draft.events, last)?,
            subscription: Subscription {
                id: subscriber.id,
                unsubscribe_url: self.link("unsubscribe", draft.unsubscribe_token)?,
            },
        };
        let kind = format!("incident.{}", draft.news.as_str());
        Ok(serde_json::to_vec(&Message { kind, timestamp: last.recorded_at, data })?)
    }

    /// A letter, as bytes; a link to what was chosen is good until `manage_until`.
    ///
    /// # Errors
    /// If a link cannot be made.
    pub fn letter(&self, letter: &Letter, tokens: &Tokens, manage_until: Timestamp) -> Result<Vec<u8>, PayloadError> {
        let choice = &letter.choice;
        let words = self.words(choice.language.as_deref());
        let is_confirmation = letter.kind == LetterKind::Confirm;
        let show = |event: &Arc<Event>| self.shown(words, &choice.wants, &[event], event);
        let incidents = match letter.kind {
            LetterKind::Welcome => Some(letter.events.iter().map(show).collect::<Result<_, _>>()?),
            LetterKind::Confirm | LetterKind::Settings => None,
        };
        let unless_asked = |path, token| if is_confirmation { Ok(None) } else { self.link(path, token).map(Some) };
        let data = Asked {
            page: &self.page,
            subscription: chosen(letter.subscriber.id, choice, unless_asked("unsubscribe", &tokens.unsubscribe)?),
            confirm_url: if is_confirmation { Some(self.link("confirm", &letter.token)?) } else { None },
            stop_url: if is_confirmation { Some(self.link("unsubscribe", &tokens.unsubscribe)?) } else { None },
            manage_url: unless_asked("manage", &tokens.manage)?,
            good_until: if is_confirmation { letter.good_until } else { manage_until },
            incidents,
        };
        let kind = format!("subscription.{}", letter.kind.as_str());
        Ok(serde_json::to_vec(&Message { kind, timestamp: letter.at, data })?)
    }

    fn words(&self, language: Option<&str>) -> &Words {
        let tag = language.unwrap_or_default().to_ascii_lowercase();
        let bare = tag.split('-').next().unwrap_or(&tag);
        self.words.get(&tag).or_else(|| self.words.get(bare)).unwrap_or(&self.site_words)
    }

    fn link(&self, path: &str, token: &str) -> Result<String, PayloadError> {
        Ok(self.server_url.join(&format!("{path}/{token}"))?.into())
    }

    fn shown(&self, words: &Words, wants: &Wants, events: &[&Event], last: &Event) -> Result<Shown, PayloadError> {
        let view = own_view(&last.view, Recipient { wants, directory: &self.directory });
        Ok(Shown {
            id: last.incident.clone(),
            url: self.site_url.join(&format!("incidents/{}/", last.incident))?.into(),
            title: words.incident_title(&view, &self.names),
            status: view.status,
            impact: view.impact,
            started_at: view.started_at,
            resolved_at: view.resolved_at,
            services: view.affected.iter().map(|part| self.service(part, last.recorded_at)).collect(),
            updates: events.iter().filter_map(|event| event.update.as_ref()).map(|said| update(words, said)).collect(),
        })
    }

    fn service(&self, part: &Affected, at: Timestamp) -> ShownService {
        ShownService {
            id: part.service.clone(),
            name: self.names.get(&part.service).to_owned(),
            status: part.status,
            started_at: part.started_at,
            resolved_at: part.recovered_at,
            downtime_s: Duration::from_millis(part.downtime_ms(at)).as_secs_f64(),
        }
    }
}

fn update(words: &Words, update: &Update) -> ShownUpdate {
    ShownUpdate {
        id: update.id,
        at: update.at,
        status: update.status,
        text: words.local(&update.text).to_owned(),
        next_update_at: update.next_update_at,
    }
}

fn chosen(id: SubscriberId, choice: &Choice, unsubscribe_url: Option<String>) -> Chosen<'_> {
    let wants = &choice.wants;
    let kinds = [(wants.incidents, "incidents"), (wants.maintenance, "maintenance")];
    Chosen {
        id,
        services: &wants.services,
        groups: &wants.groups,
        kinds: kinds.into_iter().filter(|(is_wanted, _)| *is_wanted).map(|(_, kind)| kind).collect(),
        min_impact: wants.min_impact,
        unsubscribe_url,
    }
}

/// The JSON Schema of what is sent.
#[must_use]
pub fn schema() -> Value {
    let time = json!({ "type": "string", "format": "date-time" });
    let time_or_null = json!({ "type": ["string", "null"], "format": "date-time" });
    let url = json!({ "type": "string", "format": "uri" });
    let text = json!({ "type": "string" });
    let ids = json!({ "type": "array", "items": { "type": "string" } });
    let one_of = |words: Vec<&str>| json!({ "enum": words });
    let object = |required: &[&str], properties: Value| json!({ "type": "object", "required": required, "properties": properties });
    let statuses = ["investigating", "identified", "monitoring", "resolved", "postmortem"].to_vec();
    let impacts = ["none", "minor", "major", "critical"].to_vec();
    let service = object(
        &["id", "name", "status", "started_at", "resolved_at", "downtime_s"],
        json!({
            "id": text, "name": text,
            "status": one_of(vec!["operational", "degraded_performance", "partial_outage", "major_outage",
                "under_maintenance", "unknown"]),
            "started_at": time, "resolved_at": time_or_null, "downtime_s": { "type": "number" },
        }),
    );
    let update = object(
        &["id", "at", "status", "text", "next_update_at"],
        json!({ "id": text, "at": time, "status": one_of(statuses.clone()), "text": text,
            "next_update_at": time_or_null }),
    );
    let incident = object(
        &["id", "url", "title", "status", "impact", "started_at", "resolved_at", "services", "updates"],
        json!({
            "id": text, "url": url, "title": text, "status": one_of(statuses), "impact": one_of(impacts.clone()),
            "started_at": time, "resolved_at": time_or_null,
            "services": { "type": "array", "items": service }, "updates": { "type": "array", "items": update },
        }),
    );
    let kinds = one_of(vec!["incidents", "maintenance"]);
    let page = object(&["name", "url"], json!({ "name": text, "url": url }));
    let events = News::ALL.iter().map(|news| format!("incident.{}", news.as_str()));
    let letters = LetterKind::ALL.iter().map(|kind| format!("subscription.{}", kind.as_str()));
    let message = |kinds: Vec<String>, data: Value| {
        object(&["type", "timestamp", "data"], json!({ "type": { "enum": kinds }, "timestamp": time, "data": data }))
    };
    let news = object(
        &["page", "event", "incident", "subscription"],
        json!({
            "page": page, "incident": incident,
            "event": object(&["id", "at", "tells"], json!({ "id": text, "at": time, "tells": ids })),
            "subscription": object(&["id", "unsubscribe_url"], json!({ "id": text, "unsubscribe_url": url })),
        }),
    );
    let asked = object(
        &["page", "subscription", "good_until"],
        json!({
            "page": page, "confirm_url": url, "stop_url": url, "manage_url": url, "good_until": time,
            "incidents": { "type": "array", "items": incident },
            "subscription": object(
                &["id", "services", "groups", "kinds", "min_impact"],
                json!({ "id": text, "services": ids, "groups": ids, "kinds": { "type": "array", "items": kinds },
                    "min_impact": one_of(impacts), "unsubscribe_url": url }),
            ),
        }),
    );
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "What a webhook is sent",
        "oneOf": [message(events.collect(), news), message(letters.collect(), asked)],
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::story::{Story, at, rules, subscriber};

    fn writer() -> Writer {
        let words = Words::load("en", None).unwrap();
        Writer {
            words: BTreeMap::new(),
            site_words: words,
            names: Names::of(&rules()),
            directory: Directory::new(&rules()),
            page: Page { name: "Example".to_owned(), url: "https://status.example.org/".to_owned() },
            site_url: "https://status.example.org/".parse().unwrap(),
            server_url: "https://hooks.example.org/at/".parse().unwrap(),
        }
    }

    fn news(story: &Story, news: News, wants: &[&str]) -> Value {
        let (subscriber, events) = (subscriber(wants), story.events.iter().map(|it| &**it).collect::<Vec<_>>());
        let draft = Draft { news, subscriber: &subscriber, events: &events, unsubscribe_token: "tok" };
        serde_json::from_slice(&writer().news(&draft).unwrap()).unwrap()
    }

    #[test]
    fn news_is_said_of_the_services_that_its_owner_follows_and_of_no_others() {
        let mut story = Story::opens(0, &["api", "database"]);
        story.says(60, IncidentStatus::Identified, "A **switch** broke.");
        let said = news(&story, News::Opened, &["api"]);
        assert_eq!(said["type"], "incident.opened");
        assert_eq!(said["timestamp"], "2026-11-21T10:16:00Z");
        let data = &said["data"];
        assert_eq!(data["event"]["tells"], json!(["opened", "updated"]));
        assert_eq!(data["incident"]["title"], "API is down");
        assert_eq!(data["incident"]["services"].as_array().unwrap().len(), 1);
        assert_eq!(data["incident"]["services"][0]["name"], "API");
        assert_eq!(data["incident"]["services"][0]["downtime_s"], 60.0);
        assert_eq!(data["incident"]["updates"][0]["text"], "A **switch** broke.");
        assert_eq!(data["subscription"]["unsubscribe_url"], "https://hooks.example.org/at/unsubscribe/tok");
        assert!(!said.to_string().contains("atabase"), "{said}");
        assert!(!said.to_string().contains("ann@"), "{said}");
        story.resolves(120);
        let over = news(&story, News::Resolved, &[]);
        assert_eq!(over["data"]["incident"]["resolved_at"], "2026-11-21T10:17:00Z");
        assert_eq!(over["data"]["incident"]["services"].as_array().unwrap().len(), 2);
    }

    #[test]
    fn a_confirmation_says_what_was_asked_for_and_how_to_say_yes_or_never() {
        let mut subscriber = subscriber(&[]);
        subscriber.language = Some("de".to_owned());
        let letter = |kind, token: &str| Letter {
            id: Story::delivery(1),
            kind,
            choice: Choice { wants: Wants { maintenance: false, ..Wants::default() }, ..Choice::default() },
            subscriber: subscriber.clone(),
            at: at(0),
            attempts: 0,
            token: token.to_owned(),
            mailbox: [0; 32],
            good_until: at(3600),
            events: vec![Arc::clone(&Story::opens(0, &["api"]).events[0])],
        };
        let tokens = Tokens { unsubscribe: "out".to_owned(), manage: "mine".to_owned(), ..Tokens::default() };
        let said = |letter: &Letter| -> Value {
            serde_json::from_slice(&writer().letter(letter, &tokens, at(7200)).unwrap()).unwrap()
        };
        let asked = said(&letter(LetterKind::Confirm, "tok"));
        assert_eq!(asked["type"], "subscription.confirm");
        assert_eq!(asked["data"]["confirm_url"], "https://hooks.example.org/at/confirm/tok");
        assert_eq!(asked["data"]["good_until"], "2026-11-21T11:15:00Z");
        assert_eq!(asked["data"]["subscription"]["kinds"], json!(["incidents"]));
        assert_eq!(asked["data"]["stop_url"], "https://hooks.example.org/at/unsubscribe/out");
        assert_eq!(asked.to_string().matches("hooks.example.org").count(), 2, "{asked}");
        let welcome = said(&letter(LetterKind::Welcome, ""));
        assert_eq!(welcome["data"]["manage_url"], "https://hooks.example.org/at/manage/mine");
        assert_eq!(welcome["data"]["incidents"][0]["title"], "API is down");
        assert!(welcome["data"].get("confirm_url").is_none());
    }
}
