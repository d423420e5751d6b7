//! What one message says to one reader: its sentence, its facts, people's words, in the reader's
//! language and zone, and only of the services that they follow. Pure; knows no MIME.

use jiff::{SignedDuration, Timestamp, tz::TimeZone};
use minijinja::Value;
use serde::Serialize;
use url::Url;

use crate::{
    domain::{
        ServiceId, ServiceStatus,
        event::{Event, EventKind, IncidentView},
        incident::{Affected, Fact as Seen, FactKind, Update},
        subscriber::Wants,
    },
    notify::{
        plan::News,
        recipient::{Directory, Recipient},
    },
    site::{
        markdown,
        words::{Names, Words, incident::in_one_bracket},
    },
};

mod columns;
mod slip;
mod tint;
mod trial;

use self::{
    columns::align,
    tint::{OK, OUTAGE, PARTIAL, PLANNED, SLOW, Tint, lightened},
};
pub use self::{slip::Slip, trial::Trial};

/// How many services a message lists before it counts the rest.
const LISTED: usize = 12;
/// How many a sentence names.
const NAMED: usize = 3;

/// What every message is made of, whatever it says: whose it is, in which words, and its ways out.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// What there is to choose from.
    pub directory: &'a Directory,
    /// How services are called.
    pub names: &'a Names,
    /// The reader's language.
    pub words: &'a Words,
    /// The reader's zone.
    pub zone: &'a TimeZone,
    /// Whose status this is.
    pub site_title: &'a str,
    /// Where the site is; ends in `/`.
    pub site_url: &'a Url,
    /// The colour of links.
    pub accent: &'a str,
    /// Opens what the reader chose.
    pub manage_url: &'a str,
    /// Where one click ends it.
    pub leave_url: &'a str,
}

/// What news is made of. The events are the frozen facts; nothing here depends on when the message is
/// composed, so that composing it again gives the same bytes.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// What the message is.
    pub news: News,
    /// What it tells of, oldest first; the last one's view is the truth that it states.
    pub events: &'a [&'a Event],
    /// What the reader chose.
    pub wants: &'a Wants,
    /// All else.
    pub frame: Frame<'a>,
}

/// What the templates see.
#[derive(Clone, Debug, Serialize)]
pub struct Letter {
    lang: String,
    dir: &'static str,
    /// The side on which lines begin.
    start: &'static str,
    site: Site,
    accent: String,
    accent_dark: String,
    tint: Tint,
    subject: String,
    sentence: String,
    /// The state as a word.
    state: String,
    /// A further sentence, of some kinds of messages.
    note: String,
    facts: Vec<Fact>,
    /// As many spaces as a label is wide.
    indent: String,
    people: Vec<Said>,
    page: Link,
    why: String,
    /// Where to choose anew, if they have chosen.
    manage: Option<Link>,
    /// The way out, if they are in.
    leave: Option<Link>,
}

#[derive(Clone, Debug, Serialize)]
struct Site {
    title: String,
    url: Value,
}

#[derive(Clone, Debug, Serialize)]
struct Fact {
    label: String,
    /// The label as wide as the widest, for plain text.
    padded: String,
    lines: Vec<String>,
}

#[derive(Clone, Debug, Serialize)]
struct Said {
    heading: String,
    text: String,
    html: Value,
}

#[derive(Clone, Debug, Serialize)]
struct Link {
    label: String,
    /// The label as it stands in plain text, with the address or before it.
    line: String,
    url: Value,
}

impl Letter {
    /// What is said; `None` if there is no event to speak of.
    #[must_use]
    pub fn new(source: &Source<'_>) -> Option<Self> {
        let last = *source.events.last()?;
        let frame = &source.frame;
        let writer = Writer::new(source, last);
        let page = match source.news {
            // Its own page says only that it is gone.
            News::Withdrawn => frame.site_url.clone(),
            _ => frame.site_url.join(&format!("incidents/{}/", last.incident)).ok()?,
        };
        Some(Self {
            subject: frame.subject(&writer.subject()),
            sentence: writer.sentence(),
            state: writer.state(),
            note: if source.news == News::Intermittent { frame.words.text("mail.quiet", &[]) } else { String::new() },
            people: writer.people(),
            page: frame.page(writer.page_label(), page.as_str()),
            why: writer.why(),
            manage: Some(frame.manage()),
            leave: Some(frame.leave()),
            ..Self::blank(frame, writer.tint(), writer.facts())
        })
    }

    /// One that says nothing yet but its facts.
    fn blank(frame: &Frame<'_>, tint: Tint, mut facts: Vec<Fact>) -> Self {
        let indent = align(&mut facts);
        let (dir, start) = if frame.words.direction() == "rtl" { ("rtl", "right") } else { ("ltr", "left") };
        Self {
            lang: frame.words.language().to_owned(),
            dir,
            start,
            site: Site { title: frame.site_title.to_owned(), url: address(frame.site_url.as_str()) },
            accent: frame.accent.to_owned(),
            accent_dark: lightened(frame.accent),
            tint,
            subject: String::new(),
            sentence: String::new(),
            state: String::new(),
            note: String::new(),
            facts,
            indent,
            people: Vec::new(),
            page: Link { label: String::new(), line: String::new(), url: Value::UNDEFINED },
            why: String::new(),
            manage: None,
            leave: None,
        }
    }
}

impl Frame<'_> {
    fn subject(&self, subject: &str) -> String {
        self.words.text("mail.subject", &[("site", self.site_title), ("subject", subject)])
    }

    /// The way to what was chosen.
    fn manage(&self) -> Link {
        self.link("letter.manage", self.manage_url)
    }

    /// The way out.
    fn leave(&self) -> Link {
        self.link("mail.leave", self.leave_url)
    }

    /// A page, whose address is a line of its own in plain text.
    fn page(&self, label: String, url: &str) -> Link {
        Link { line: self.words.text("mail.label", &[("label", &label)]), label, url: address(url) }
    }

    fn link(&self, key: &str, url: &str) -> Link {
        Link {
            label: self.words.text(key, &[]),
            line: self.words.text(&format!("{key}_line"), &[("url", url)]),
            url: address(url),
        }
    }
}

/// An incident with only a recipient's services in it, over when theirs are back.
pub(in crate::notify) fn own_view(view: &IncidentView, recipient: Recipient<'_>) -> IncidentView {
    let (started_at, resolved_at) = recipient.stretch(view);
    IncidentView {
        root: view.root.clone().filter(|root| recipient.follows(root)),
        started_at,
        resolved_at,
        affected: recipient.parts(&view.affected).cloned().collect(),
        ..view.clone()
    }
}

struct Writer<'a> {
    source: &'a Source<'a>,
    last: &'a Event,
    recipient: Recipient<'a>,
    /// The incident as the reader sees it.
    view: IncidentView,
    is_over: bool,
}

impl<'a> Writer<'a> {
    fn new(source: &'a Source<'a>, last: &'a Event) -> Self {
        let recipient = Recipient { wants: source.wants, directory: source.frame.directory };
        let view = own_view(&last.view, recipient);
        Self { source, last, recipient, is_over: view.resolved_at.is_some(), view }
    }

    fn words(&self) -> &'a Words {
        self.source.frame.words
    }

    fn title(&self) -> String {
        self.words().incident_title(&self.view, self.source.frame.names)
    }

    /// The title of what still goes on: what is back is not said to be down.
    fn present(&self) -> String {
        let suffers = |part: &&Affected| part.recovered_at.is_none();
        let affected: Vec<Affected> = self.view.affected.iter().filter(suffers).cloned().collect();
        if self.is_over || affected.is_empty() {
            return self.title();
        }
        let root = self.view.root.clone().filter(|root| affected.iter().any(|part| part.service == *root));
        self.words().incident_title(&IncidentView { root, affected, ..self.view.clone() }, self.source.frame.names)
    }

    fn sentence_of(&self, text: &str) -> String {
        if text.ends_with(['.', '!', '?', '。', '！', '？', '؟', '…', ':']) {
            return text.to_owned();
        }
        format!("{text}{}", self.words().catalog().raw("style.stop"))
    }

    /// The services that the message is about, of those that the reader follows.
    fn concerned(&self, kind: EventKind) -> Vec<&ServiceId> {
        let mut services: Vec<&ServiceId> = Vec::new();
        for event in self.source.events.iter().filter(|event| event.kind == kind) {
            for service in self.recipient.concerned(event) {
                if !services.contains(&service) {
                    services.push(service);
                }
            }
        }
        services
    }

    fn suffering(&self) -> Vec<&ServiceId> {
        self.view.affected.iter().filter(|part| part.recovered_at.is_none()).map(|part| &part.service).collect()
    }

    fn all(&self) -> Vec<&ServiceId> {
        self.view.affected.iter().map(|part| &part.service).collect()
    }

    /// The text at `key` about some services by name.
    fn about(&self, key: &str, services: &[&ServiceId], args: &[(&str, &str)]) -> String {
        let names: Vec<&str> = services.iter().map(|service| self.source.frame.names.get(service)).collect();
        let listed = self.words().list(&names, NAMED);
        let mut all = vec![("names", listed.as_str())];
        all.extend_from_slice(args);
        self.words().count(key, u64::try_from(services.len()).unwrap_or(u64::MAX), &all)
    }

    /// How long it lasted for the reader, if it is over.
    fn lasted_ms(&self) -> Option<u64> {
        let ended_at = self.view.resolved_at?;
        match self.view.affected.as_slice() {
            [part] => Some(part.downtime_ms(ended_at)),
            _ => u64::try_from(ended_at.as_millisecond() - self.view.started_at.as_millisecond()).ok(),
        }
    }

    fn lasted(&self) -> String {
        self.words().duration(self.lasted_ms().unwrap_or(0))
    }

    fn subject(&self) -> String {
        let words = self.words();
        let say = |kind, services: &[&ServiceId]| {
            let services: Vec<ServiceId> = services.iter().map(|&service| service.clone()).collect();
            words.event_subject(kind, &self.view, &services, self.source.frame.names)
        };
        match self.source.news {
            News::Opened => say(EventKind::Opened, &self.all()),
            News::Joined => say(EventKind::Joined, &self.concerned(EventKind::Joined)),
            News::Recovered => say(EventKind::Recovered, &self.concerned(EventKind::Recovered)),
            News::Updated => {
                let subject = say(EventKind::Updated, &self.all());
                // What people write says how far they are.
                let status = self.updates().last().map(|update| words.inside(words.incident_status(update.status)));
                let Some(status) = status else { return subject };
                in_one_bracket(&words.text("mail.updated_subject", &[("subject", &subject), ("status", &status)]))
            }
            News::Resolved => {
                // Down for as long as the services were, not with the good times between.
                let mut view = self.view.clone();
                let lasted = SignedDuration::from_millis(i64::try_from(self.lasted_ms().unwrap_or(0)).unwrap_or(0));
                view.started_at =
                    view.resolved_at.and_then(|end| end.checked_sub(lasted).ok()).unwrap_or(view.started_at);
                let all: Vec<ServiceId> = self.all().into_iter().cloned().collect();
                words.event_subject(EventKind::Resolved, &view, &all, self.source.frame.names)
            }
            News::Reopened => say(EventKind::Reopened, &self.suffering()),
            News::Intermittent => say(EventKind::Intermittent, &self.all()),
            News::Postmortem => say(EventKind::Postmortem, &self.all()),
            News::Withdrawn => say(EventKind::Withdrawn, &self.all()),
            News::Passed => {
                let key = match self.worst() {
                    ServiceStatus::MajorOutage | ServiceStatus::PartialOutage => "mail.passed_subject",
                    ServiceStatus::DegradedPerformance => "mail.passed_slow_subject",
                    _ => "mail.passed_other_subject",
                };
                let names = words.incident_names(&self.view, self.source.frame.names);
                in_one_bracket(&words.text(key, &[("names", &names), ("duration", &self.lasted())]))
            }
        }
    }

    fn sentence(&self) -> String {
        let words = self.words();
        let title = self.title();
        match self.source.news {
            News::Updated if self.last.fact.is_some() => {
                let theirs = |services: &[ServiceId]| {
                    services.iter().filter(|service| self.recipient.follows(service)).cloned().collect()
                };
                let what = match self.last.fact.clone() {
                    Some(FactKind::LeftBehind { root, services }) => {
                        FactKind::LeftBehind { root, services: theirs(&services) }
                    }
                    Some(FactKind::Steady { services }) => FactKind::Steady { services: theirs(&services) },
                    Some(what) => what,
                    None => return self.sentence_of(&title),
                };
                words.fact(&Seen { at: self.last.at, what }, self.source.frame.names)
            }
            News::Opened | News::Updated => self.sentence_of(&self.present()),
            News::Joined => self.about("mail.joined", &self.concerned(EventKind::Joined), &[]),
            News::Recovered => {
                let back = self.concerned(EventKind::Recovered);
                let longest = back
                    .iter()
                    .filter_map(|service| self.part(service))
                    .map(|part| part.downtime_ms(part.recovered_at.unwrap_or(self.last.at)));
                let duration = words.duration(longest.max().unwrap_or(0));
                self.about("mail.back_some", &back, &[("duration", &duration)])
            }
            News::Resolved if self.view.affected.is_empty() => words.text("mail.over", &[("title", &title)]),
            News::Resolved => self.about("mail.back", &self.all(), &[("duration", &self.lasted())]),
            News::Reopened => {
                let key = match self.worst() {
                    ServiceStatus::MajorOutage => "mail.again_down",
                    ServiceStatus::PartialOutage => "mail.again_partly",
                    ServiceStatus::DegradedPerformance => "mail.again_slow",
                    _ => "mail.again_other",
                };
                self.about(key, &self.suffering(), &[])
            }
            News::Intermittent => self.about("mail.intermittent", &self.all(), &[]),
            News::Postmortem => words.text("mail.postmortem", &[("title", &title)]),
            News::Withdrawn => words.text("mail.withdrawn", &[("title", &title)]),
            News::Passed => words.text("mail.passed", &[("title", &title), ("duration", &self.lasted())]),
        }
    }

    fn part(&self, service: &ServiceId) -> Option<&Affected> {
        self.view.affected.iter().find(|part| part.service == *service)
    }

    fn worst(&self) -> ServiceStatus {
        self.recipient.worst(&self.last.view)
    }

    fn state(&self) -> String {
        let words = self.words();
        match self.source.news {
            News::Withdrawn => words.text("incident.withdrawn_title", &[]),
            News::Postmortem => words.text("postmortem.title", &[]),
            _ if self.is_over => words.incident_status(crate::domain::IncidentStatus::Resolved).to_owned(),
            News::Updated => words.incident_status(self.view.status).to_owned(),
            _ => words.status(self.worst()).to_owned(),
        }
    }

    fn tint(&self) -> Tint {
        match self.source.news {
            News::Withdrawn | News::Postmortem => PLANNED,
            _ if self.is_over => OK,
            _ => match self.worst() {
                ServiceStatus::MajorOutage => OUTAGE,
                ServiceStatus::PartialOutage => PARTIAL,
                ServiceStatus::DegradedPerformance => SLOW,
                _ => PLANNED,
            },
        }
    }

    fn facts(&self) -> Vec<Fact> {
        let words = self.words();
        let mut facts = Vec::new();
        let mut say = |key: &str, lines: Vec<String>| {
            let label = words.text(&format!("mail.{key}"), &[]);
            let padded = words.text("mail.label", &[("label", &label)]);
            facts.push(Fact { label, padded, lines });
        };
        if self.source.news == News::Withdrawn {
            say("began", vec![self.moment(self.view.started_at)]);
            return facts;
        }
        match self.view.affected.as_slice() {
            [] => {}
            [part] => say("what", vec![self.status_of(part)]),
            parts => {
                let mut lines: Vec<String> = parts.iter().take(LISTED).map(|part| self.line_of(part)).collect();
                let rest = parts.len().saturating_sub(LISTED);
                if rest > 0 {
                    lines.push(words.count("mail.part_more", u64::try_from(rest).unwrap_or(u64::MAX), &[]));
                }
                say("affected", lines);
            }
        }
        if let Some(root) = self.last.view.root.as_ref().filter(|root| !self.recipient.follows(root) && !self.is_over) {
            say("needs", vec![self.source.frame.names.get(root).to_owned()]);
        }
        if let Some(ended_at) = self.view.resolved_at {
            say("from", vec![self.moment(self.view.started_at)]);
            say("until", vec![self.moment(ended_at)]);
            say("lasted", vec![self.lasted()]);
        } else {
            // When it failed again, that is what matters most.
            let again = self.view.affected.iter().filter(|part| part.recovered_at.is_none());
            let again = again.map(|part| part.started_at).min().filter(|_| self.source.news == News::Reopened);
            say("since", vec![self.moment(again.unwrap_or(self.view.started_at))]);
            if again.is_some_and(|at| at != self.view.started_at) {
                say("began", vec![self.moment(self.view.started_at)]);
            }
        }
        if !self.is_over {
            say("state", vec![words.incident_status(self.view.status).to_owned()]);
            let promised = self.updates().last().and_then(|update| update.next_update_at);
            match promised {
                Some(at) => say("next_update", vec![words.text("mail.by", &[("moment", &self.moment(at))])]),
                // Of what comes and goes nothing follows but what people write.
                None if self.source.news == News::Intermittent => {}
                None => say("next_update", vec![words.text("mail.by_itself", &[])]),
            }
        }
        facts
    }

    /// How a service is, or was at worst, and why.
    fn status_of(&self, part: &Affected) -> String {
        let words = self.words();
        let status = if part.recovered_at.is_some() { part.worst } else { part.status };
        let status = words.status(status);
        match &part.cause {
            Some(cause) => {
                words.text("mail.with_cause", &[("status", status), ("cause", &words.inside(&words.cause(cause)))])
            }
            None => status.to_owned(),
        }
    }

    fn line_of(&self, part: &Affected) -> String {
        let (words, name) = (self.words(), ("name", self.source.frame.names.get(&part.service)));
        if let Some(at) = part.recovered_at {
            let duration = words.duration(part.downtime_ms(at));
            return words.text("mail.part_back", &[name, ("moment", &self.near(at)), ("duration", &duration)]);
        }
        let status = self.status_of(part);
        let since = self.near(part.started_at);
        // Within the same minute it is the same moment to a reader.
        if since == self.near(self.view.started_at) {
            return words.text("mail.part", &[name, ("status", &status)]);
        }
        words.text("mail.part_since", &[name, ("status", &status), ("moment", &since)])
    }

    /// A moment in the reader's zone, without its day if that is the day on which it all began.
    fn near(&self, at: Timestamp) -> String {
        self.words().moment_near(at, self.view.started_at, self.source.frame.zone)
    }

    /// A moment in the reader's zone, and in UTC unless that is the same.
    fn moment(&self, at: Timestamp) -> String {
        let words = self.words();
        let local = words.moment(at, self.source.frame.zone);
        if self.source.frame.zone.to_offset(at).is_zero() {
            return local;
        }
        let is_same_day = at.to_zoned(self.source.frame.zone.clone()).date() == at.to_zoned(TimeZone::UTC).date();
        let utc = if is_same_day { words.time(at, &TimeZone::UTC) } else { words.moment(at, &TimeZone::UTC) };
        words.text("mail.both_zones", &[("local", &local), ("utc", &utc)])
    }

    fn updates(&self) -> impl Iterator<Item = &Update> {
        self.source.events.iter().filter_map(|event| event.update.as_ref()).filter(|update| !update.withdrawn)
    }

    fn people(&self) -> Vec<Said> {
        let words = self.words();
        self.updates()
            .filter(|update| !update.text.is_blank())
            .map(|update| {
                let status = words.incident_status(update.status);
                let moment = self.moment(update.at);
                let text = words.local(&update.text);
                Said {
                    heading: words.text("mail.said", &[("status", status), ("moment", &moment)]),
                    text: markdown::to_text(text),
                    html: Value::from_safe_string(markdown::to_html(text)),
                }
            })
            .collect()
    }

    fn page_label(&self) -> String {
        let key = match self.source.news {
            News::Postmortem => "mail.page_written",
            News::Withdrawn => "mail.page_site",
            _ if self.is_over => "mail.page_over",
            _ => "mail.page",
        };
        self.words().text(key, &[])
    }

    fn why(&self) -> String {
        let wants = self.source.wants;
        let site = ("site", self.source.frame.site_title);
        let names: Vec<&str> = wants.services.iter().map(|service| self.source.frame.names.get(service)).collect();
        let groups = wants.groups.iter().map(|group| self.source.frame.directory.group_name(group));
        let all: Vec<&str> = names.into_iter().chain(groups).collect();
        if all.is_empty() {
            return self.words().text("mail.why_all", &[site]);
        }
        self.words().text("mail.why_some", &[("names", &self.words().list(&all, NAMED)), site])
    }
}

/// An address for an attribute or for text: as it is where nothing in it needs escaping.
fn address(url: &str) -> Value {
    if url.contains(['&', '<', '>', '"', '\'']) { Value::from(url) } else { Value::from_safe_string(url.to_owned()) }
}
