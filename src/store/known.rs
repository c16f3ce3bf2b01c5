//! The devices and tags that are configured now, for the parts of the store that outlive a change of them.

use std::sync::{Arc, PoisonError, RwLock};

use crate::model::Directory;

/// Cheap to clone; all clones see the same.
#[derive(Debug, Clone, Default)]
pub(super) struct Known(Arc<RwLock<Arc<Directory>>>);

impl Known {
    pub(super) fn new(directory: Arc<Directory>) -> Known {
        Known(Arc::new(RwLock::new(directory)))
    }

    pub(super) fn now(&self) -> Arc<Directory> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn replace(&self, directory: Arc<Directory>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = directory;
    }
}
