//! Inputs from a seed: the same seed gives the same input on every machine.

/// Numbers that look random: `SplitMix64` (Steele, Lea, Flood 2014).
#[derive(Clone)]
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From 0 to `end`, without `end`.
    pub fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }

    /// A small number mostly, a large one now and then, never more than `most`.
    pub fn few(&mut self, most: usize) -> usize {
        let bound = match self.below(20) {
            0 => most,
            1..4 => most.min(12),
            _ => most.min(4),
        };
        self.below(bound + 1)
    }

    /// True once in `n`.
    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    pub fn pick<'a, T: ?Sized>(&mut self, from: &[&'a T]) -> &'a T {
        from[self.below(from.len())]
    }

    /// Several of `pieces` in a row, now and then with something unheard of between them.
    pub fn pieces(&mut self, pieces: &[&str], most: usize) -> String {
        let mut text = String::new();
        for _ in 0..self.few(most) {
            match self.below(12) {
                0 => text.push(self.char()),
                1 => text.push_str(self.pick(HOSTILE)),
                _ => text.push_str(self.pick(pieces)),
            }
        }
        text
    }

    /// A text that somebody might write, or an attacker.
    pub fn text(&mut self) -> String {
        self.pieces(WORDS, 12)
    }

    pub fn char(&mut self) -> char {
        let code = match self.below(4) {
            0 => self.below(0x80),
            1 => self.below(0x800),
            2 => self.below(0x1_0000),
            _ => self.below(0x11_0000),
        };
        char::from_u32(code as u32).unwrap_or('\u{fffd}')
    }

    /// `input` with some of it left out, doubled, exchanged, or replaced by `words`.
    pub fn mutate(&mut self, input: &mut Vec<u8>, words: &[&str], other: &[u8]) {
        for _ in 0..=self.few(8) {
            let at = self.below(input.len() + 1);
            let end = (at + self.few(64)).min(input.len());
            match self.below(9) {
                0 if at < input.len() => input[at] ^= 1 << self.below(8),
                1 if at < input.len() => input[at] = self.next() as u8,
                2 => drop(input.drain(at..end)),
                3 => {
                    let copy = input[at..end].to_vec();
                    let to = self.below(input.len() + 1);
                    for _ in 0..=self.few(6) {
                        input.splice(to..to, copy.iter().copied());
                    }
                }
                4 => {
                    let word = self.pick(HOSTILE).as_bytes();
                    input.splice(at..end, word.iter().copied());
                }
                5 => {
                    let from = self.below(other.len() + 1);
                    let to = (from + self.few(200)).min(other.len());
                    input.splice(at..end, other[from..to].iter().copied());
                }
                6 => input.truncate(at),
                _ if !words.is_empty() => {
                    let word = self.pick(words).as_bytes();
                    input.splice(at..end, word.iter().copied());
                }
                _ => {
                    let mut buffer = [0; 4];
                    let c = self.char().encode_utf8(&mut buffer).as_bytes().to_vec();
                    input.splice(at..at, c);
                }
            }
            if input.len() > 1 << 20 {
                input.truncate(1 << 20);
            }
        }
    }
}

/// Ends one text and begins the next, in inputs that are made of several.
pub const NEXT: char = '\u{1e}';

/// The texts of an input, broken bytes replaced.
pub fn texts(input: &[u8]) -> Vec<String> {
    String::from_utf8_lossy(input).split(NEXT).map(str::to_owned).collect()
}

const WORDS: &[&str] =
    &["API", " ", "is down", "\n\n", "größer", ". ", "A & B", "2 < 3", "🚨", "it's", "\"quoted\"", "-"];

/// What breaks things that are put together from texts.
pub const HOSTILE: &[&str] = &[
    "\0",
    "\r\n",
    "\n",
    "\r",
    "\t",
    "\u{b}",
    "\u{1b}[2J",
    "\u{7f}",
    "\u{85}",
    "\u{a0}",
    "\u{200b}",
    "\u{202e}",
    "\u{2028}",
    "\u{2066}",
    "\u{feff}",
    "\u{fdd0}",
    "\u{fffd}",
    "\u{fffe}",
    "\u{1f468}\u{200d}\u{1f469}",
    "e\u{301}\u{301}\u{301}",
    "<script>alert(1)</script>",
    "</title><script>",
    "</script>",
    "<img src=x onerror=alert(1)>",
    "\" onmouseover=\"alert(1)",
    "' onfocus='alert(1)' autofocus='",
    "javascript:alert(1)",
    "java\tscript:alert(1)",
    "data:text/html,<script>",
    "jaVasCript:/*-/*`/*\\`/*'/*\"/**/(/* */oNcliCk=alert() )//%0D%0A%0d%0a//</stYle/</titLe/</teXtarEa/</scRipt/--!>\\x3csVg/<sVg/oNloAd=alert()//>\\x3e",
    "<svg/onload=alert(1)>",
    "<!--",
    "-->",
    "]]>",
    "<![CDATA[",
    "<?xml",
    "&lt;script&gt;",
    "&#0;",
    "&#x202e;",
    "&#106avascript:",
    "&Tab;",
    "&colon;",
    "{{ 7 * 7 }}",
    "{% raw %}",
    "\r\nBcc: eve@example.com",
    "\n.\n",
    "=?utf-8?q?=0d=0aBcc:_eve?=",
    "%0d%0a",
    "%00",
    "../../etc/passwd",
    "\\",
    "\"",
    "'",
    "`",
    ";",
    ",",
    "=",
    "@",
    "9223372036854775807",
    "-9223372036854775808",
    "18446744073709551616",
    "1e999",
    "NaN",
    "9999-12-31T23:59:59Z",
    "-009999-01-02T00:00:00Z",
];
