#!/usr/bin/env python3
"""Reads feeds, calendars and JSON with parsers that are not ours.

    scripts/validate-feeds.py [FOLDER...]

Without a folder: the golden files of the tests. Any published site will do. Checks what the W3C
feed validator would complain of, as far as it can be checked offline: well-formedness, ids, dates,
titles without markup, strict HTML of allowed elements, absolute links, self links.

Uses feedparser, html5lib and icalendar if they are installed; what is missing is said, not hidden.
Exit code 0: nothing wrong; 1: something is.
"""

import json
import re
import sys
from datetime import datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from xml.etree import ElementTree

try:
    import feedparser
except ImportError:
    feedparser = None
try:
    import html5lib
except ImportError:
    html5lib = None
try:
    import icalendar
except ImportError:
    icalendar = None

ATOM = "{http://www.w3.org/2005/Atom}"
TAG = re.compile(r"^tag:[a-z0-9.-]+,\d{4}-\d{2}-\d{2}:[0-9A-Za-z;/?:@&=+$._!~*'()%,-]+$")
URL = re.compile(r"^https?://[0-9A-Za-z;/?:@&=+$._!~*'()%,#\[\]-]+$")
RFC2822 = re.compile(r"^(Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d\d? \w{3} \d{4} \d\d:\d\d:\d\d \+0000$")
RFC3339 = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|\+00:00)$")
# What in a title makes readers and validators think of markup.
MARKUP = re.compile(r"</?[A-Za-z!?]|&(#|amp|lt|gt|quot|apos|nbsp|copy|reg)")
ADDRESS = re.compile(r"<[\w.+'-]+@[\w.-]+>")
BAD = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ufdd0-\ufdef\ufffd-\uffff]")
ELEMENTS = set(
    "p small time br strong em a ul ol li pre code blockquote hr h4 h5 h6".split()
)
ATTRIBUTES = {"href", "rel", "datetime", "start"}


class Problems:
    def __init__(self):
        self.count = 0

    def check(self, good, path, what):
        if not good:
            self.count += 1
            print(f"{path}: {what}")


def html(text, path, problems):
    problems.check(not BAD.search(text), path, "a forbidden character in HTML")
    if html5lib is None:
        return
    try:
        tree = html5lib.HTMLParser(strict=True).parseFragment(text)
    except html5lib.html5parser.ParseError as error:
        problems.check(False, path, f"HTML: {error}: {text[:80]!r}")
        return
    for node in tree.iter():
        if not isinstance(node.tag, str) or node.tag == "DOCUMENT_FRAGMENT":
            continue
        name = node.tag.split("}")[-1]
        problems.check(name in ELEMENTS, path, f"element {name}")
        for attribute, value in node.attrib.items():
            problems.check(attribute in ATTRIBUTES, path, f"attribute {attribute}")
            if attribute == "href":
                good = URL.match(value) or value.startswith("mailto:")
                problems.check(good, path, f"link {value!r}")


def entries(path, problems, found):
    """`found`: (id, title, link, html, published, updated) of each entry."""
    ids = [entry[0] for entry in found]
    problems.check(len(set(ids)) == len(ids), path, "an id twice")
    changed = [entry[5] for entry in found if entry[5]]
    problems.check(len(set(changed)) == len(changed), path, "an `updated` twice")
    published = [entry[4] for entry in found]
    problems.check(published == sorted(published, reverse=True), path, "not newest first")
    for id_, title, link, content, _, _ in found:
        problems.check(TAG.match(id_ or ""), path, f"id {id_!r}")
        problems.check(title and not MARKUP.search(title), path, f"title {title!r}")
        problems.check(URL.match(link or ""), path, f"link {link!r}")
        html(content, path, problems)


def rss(path, problems):
    root = ElementTree.parse(path).getroot()
    channel = root.find("channel")
    own = channel.findall(f"{ATOM}link")
    problems.check(len(own) == 1 and own[0].get("rel") == "self", path, "no self link")
    problems.check(own and own[0].get("href", "").endswith(path.name), path, "a self link elsewhere")
    for name in ("title", "link", "description", "language", "lastBuildDate"):
        problems.check(len(channel.findall(name)) == 1, path, f"<{name}>")
    for name in ("title", "description"):
        text = channel.findtext(name) or ""
        problems.check(not MARKUP.search(text) and not ADDRESS.search(text), path, f"<{name}> {text!r}")
    found = []
    for item in channel.findall("item"):
        guid = item.find("guid")
        problems.check(guid.get("isPermaLink") == "false", path, "a guid that claims to be a link")
        date = item.findtext("pubDate") or ""
        problems.check(RFC2822.match(date), path, f"date {date!r}")
        when = parsedate_to_datetime(date)
        problems.check(when.strftime("%a") == date[:3], path, f"day of the week of {date!r}")
        found.append((guid.text, item.findtext("title"), item.findtext("link"), item.findtext("description"), when, None))
    entries(path, problems, found)


def atom(path, problems):
    feed = ElementTree.parse(path).getroot()
    problems.check(feed.tag == f"{ATOM}feed", path, feed.tag)
    problems.check(feed.get("{http://www.w3.org/XML/1998/namespace}lang"), path, "no xml:lang")
    for name in ("title", "id", "updated"):
        problems.check(len(feed.findall(f"{ATOM}{name}")) == 1, path, f"<{name}>")
    problems.check(TAG.match(feed.findtext(f"{ATOM}id") or ""), path, "the feed's id")
    problems.check(feed.find(f"{ATOM}author/{ATOM}name") is not None, path, "no author")
    own = [link for link in feed.findall(f"{ATOM}link") if link.get("rel") == "self"]
    problems.check(len(own) == 1 and own[0].get("href", "").endswith(path.name), path, "no self link")
    tags = [child.tag for child in feed]
    if f"{ATOM}entry" in tags:
        rest = set(tags[tags.index(f"{ATOM}entry"):])
        problems.check(rest == {f"{ATOM}entry"}, path, "metadata after entries")
    found = []
    for entry in feed.findall(f"{ATOM}entry"):
        times = [entry.findtext(f"{ATOM}{name}") or "" for name in ("published", "updated")]
        for time in times:
            problems.check(RFC3339.match(time), path, f"time {time!r}")
        published, updated = (datetime.fromisoformat(time) for time in times)
        problems.check(published <= updated, path, "changed before it was published")
        content = entry.find(f"{ATOM}content")
        problems.check(content.get("type") == "html", path, "content of another type")
        links = [link.get("href") for link in entry.findall(f"{ATOM}link") if link.get("rel") == "alternate"]
        problems.check(len(links) == 1, path, "not one alternate link")
        found.append((entry.findtext(f"{ATOM}id"), entry.findtext(f"{ATOM}title"), links[0], content.text, published, updated))
    entries(path, problems, found)


def json_feed(path, problems):
    feed = json.loads(path.read_text("utf-8"))
    problems.check(feed["version"] == "https://jsonfeed.org/version/1.1", path, "version")
    problems.check(feed["feed_url"].endswith(path.name), path, "feed_url")
    found = []
    for item in feed["items"]:
        published, updated = (datetime.fromisoformat(item[name]) for name in ("date_published", "date_modified"))
        found.append((item["id"], "-", item["url"], item["content_html"], published, updated))
    entries(path, problems, found)


def syndicated(path, problems):
    """As a feed reader sees it."""
    if feedparser is None or path.suffix not in (".rss", ".atom"):
        return
    feed = feedparser.parse(path.read_bytes())
    problems.check(not feed.bozo, path, f"feedparser: {feed.get('bozo_exception')}")
    for entry in feed.entries:
        problems.check(entry.get("published_parsed"), path, "a date that feedparser cannot read")
        text = (entry.get("content") or [{"value": entry.get("summary", "")}])[0]["value"]
        problems.check("<script" not in text and text.strip(), path, "content")


def calendar(path, problems):
    raw = path.read_bytes()
    lines = raw.split(b"\r\n")
    problems.check(raw.endswith(b"\r\n") and b"\n" not in raw.replace(b"\r\n", b""), path, "line ends")
    problems.check(all(len(line) <= 75 for line in lines), path, "a line of more than 75 octets")
    if icalendar is None:
        return
    parsed = icalendar.Calendar.from_ical(raw)
    for name in ("VERSION", "PRODID", "METHOD", "NAME"):
        problems.check(parsed.get(name), path, f"no {name}")
    problems.check(len(parsed.subcomponents) > 0, path, "no component")


def main():
    golden = Path(__file__).resolve().parent.parent / "tests/golden/feeds"
    folders = [Path(argument) for argument in sys.argv[1:]] or [golden]
    for name, module in (("feedparser", feedparser), ("html5lib", html5lib), ("icalendar", icalendar)):
        if module is None:
            print(f"SKIPPED: what needs {name} (not installed)", file=sys.stderr)
    problems = Problems()
    kinds = {".rss": rss, ".atom": atom, ".ics": calendar}
    count = 0
    for path in sorted(path for folder in folders for path in folder.rglob("*") if path.is_file()):
        check = json_feed if path.name == "feed.json" else kinds.get(path.suffix)
        if check is None:
            continue
        count += 1
        try:
            check(path, problems)
            syndicated(path, problems)
        except Exception as error:  # a file that cannot be read at all is one problem, not the end
            problems.check(False, path, f"{type(error).__name__}: {error}")
    problems.check(count, ", ".join(map(str, folders)), "no feed found")
    print(f"{count} files, {problems.count} problems")
    return 1 if problems.count else 0


if __name__ == "__main__":
    sys.exit(main())
