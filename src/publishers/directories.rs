//! All devices and tags as the configuration has them now, and word of it when they become others.

use std::sync::Arc;

use tokio::sync::watch;

use crate::model::Directory;

/// Cheap to clone; each clone hears of a change for itself.
#[derive(Debug, Clone)]
pub struct Directories(watch::Receiver<Arc<Directory>>);

impl Directories {
    /// Those that change by what is sent.
    pub fn following(first: Arc<Directory>) -> (watch::Sender<Arc<Directory>>, Directories) {
        let (sender, receiver) = watch::channel(first);
        (sender, Directories(receiver))
    }

    /// Devices and tags as they are now.
    pub fn now(&self) -> Arc<Directory> {
        self.0.borrow().clone()
    }

    /// The new ones, where they changed since this was last asked.
    pub fn news(&mut self) -> Option<Arc<Directory>> {
        // Where nobody can change them any more, the last ones stay.
        self.0.has_changed().unwrap_or(false).then(|| self.0.borrow_and_update().clone())
    }

    /// Returns when [`Self::news`] has some; never, where nobody can change them.
    pub async fn changed(&mut self) {
        if self.0.changed().await.is_err() {
            return std::future::pending().await;
        }
        // Told again by `news`.
        self.0.mark_changed();
    }

    /// For those who wait for them in another way.
    #[cfg(feature = "opcua")]
    pub(super) fn receiver(&self) -> watch::Receiver<Arc<Directory>> {
        self.0.clone()
    }
}

/// Those that nobody changes.
impl From<Arc<Directory>> for Directories {
    fn from(directory: Arc<Directory>) -> Directories {
        Directories::following(directory).1
    }
}
