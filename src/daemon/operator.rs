//! Telling the operator about the monitor itself.

use tokio::sync::mpsc;

/// One message to the operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// What it is about, as a short sentence.
    pub subject: String,
    /// All of it.
    pub text: String,
}

/// Where parts of the daemon leave messages for the operator.
#[derive(Debug)]
pub struct Operator(mpsc::UnboundedSender<Notice>);

impl Operator {
    /// Leaves a message. Whoever calls sees to it that the same is not said again and again.
    pub fn tell(&self, subject: &str, text: &str) {
        // The receiver goes away only at shutdown.
        let _ = self.0.send(Notice { subject: subject.to_owned(), text: text.to_owned() });
    }
}

/// The two ends: messages in, messages out.
#[must_use]
pub fn channel() -> (Operator, mpsc::UnboundedReceiver<Notice>) {
    let (sender, receiver) = mpsc::unbounded_channel();
    (Operator(sender), receiver)
}
