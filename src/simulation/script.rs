//! What is so from when on: the truth about a target or a relay, as a list.

use std::time::Duration;

/// A value for each moment. Moments are counted from the beginning of the simulation, whatever the
/// clocks say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script<T> {
    first: T,
    /// In order of time.
    then: Vec<(Duration, T)>,
}

impl<T> Script<T> {
    /// The same for ever.
    #[must_use]
    pub const fn new(first: T) -> Self {
        Self { first, then: Vec::new() }
    }

    /// From `moment` on something else; what was said of later moments is forgotten.
    pub fn set(&mut self, moment: Duration, value: T) {
        self.then.retain(|(at, _)| *at < moment);
        self.then.push((moment, value));
    }

    /// What is so at `moment`.
    #[must_use]
    pub fn at(&self, moment: Duration) -> &T {
        let last = self.then.iter().take_while(|(at, _)| *at <= moment).last();
        last.map_or(&self.first, |(_, value)| value)
    }

    /// Every stretch: from when on, until when (`None`: for ever), and what.
    pub fn stretches(&self) -> impl Iterator<Item = (Duration, Option<Duration>, &T)> {
        let from = std::iter::once((Duration::ZERO, &self.first)).chain(self.then.iter().map(|(at, it)| (*at, it)));
        let to = self.then.iter().map(|(at, _)| Some(*at)).chain([None]);
        from.zip(to).map(|((from, value), to)| (from, to, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_moment_has_its_value() {
        let second = Duration::from_secs;
        let mut script = Script::new('a');
        script.set(second(10), 'b');
        script.set(second(30), 'c');
        assert_eq!([0, 9, 10, 29, 30, 99].map(|at| *script.at(second(at))), ['a', 'a', 'b', 'b', 'c', 'c']);
        script.set(second(20), 'd');
        let stretches: Vec<_> = script.stretches().map(|(from, to, it)| (from.as_secs(), to, *it)).collect();
        assert_eq!(stretches, [(0, Some(second(10)), 'a'), (10, Some(second(20)), 'b'), (20, None, 'd')]);
    }
}
