//! Segments that are still open when the interpreter ends: those with a mark are left clean.

use crate::attached::Attached;
use pyo3::prelude::*;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;
use vasmem_engine::Error;
use vasmem_engine::os::Sleeper;

/// Attachments with a mark. Only who has the interpreter's lock locks it, so that no forked child
/// finds it locked.
static OPEN: Mutex<Vec<Weak<Attached>>> = Mutex::new(Vec::new());
static EXITING: AtomicBool = AtomicBool::new(false);

/// Threads that are inside a commit get this long to end it; one that lasts is not waited for.
const PATIENCE: Duration = Duration::from_millis(100);

fn open(_: Python<'_>) -> MutexGuard<'static, Vec<Weak<Attached>>> {
    OPEN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Remembers an attachment.
pub fn watch(py: Python<'_>, attached: &Arc<Attached>) {
    let mut open = open(py);
    open.retain(|attached| attached.strong_count() > 0);
    open.push(Arc::downgrade(attached));
}

/// Whether [`leave_all`] was called: threads may have been stopped where they were.
pub fn is_exiting() -> bool {
    EXITING.load(Relaxed)
}

/// Leaves what is open and has a mark as its closing would, except that it stays open: daemon
/// threads may still be inside, and what they go on to write is marked again. Raises OSError.
#[pyfunction]
pub fn leave_all(py: Python<'_>) -> PyResult<()> {
    EXITING.store(true, Relaxed);
    let open: Vec<Arc<Attached>> = open(py).iter().filter_map(Weak::upgrade).collect();
    let mut done = Ok(());
    for attached in open {
        let left = py.detach(|| attached.leave(&mut Sleeper::new(PATIENCE)));
        match left {
            Ok(()) | Err(Error::Timeout { .. }) => {}
            Err(error) => done = Err(attached.raise(error, None)),
        }
    }
    done
}
