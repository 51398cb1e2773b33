//! The exceptions of vasmem. They are ordinary Python classes, most with a second, built-in base
//! (`SegmentNotFound` is also a `FileNotFoundError`), built once for the process and shared by the
//! native and the Python side; `vasmem/errors.py` only gives them their public place.

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyTuple, PyType};

/// Which exception.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    VasmemError,
    SegmentNotFound,
    SegmentExists,
    PermissionDenied,
    SegmentFull,
    SegmentCorrupted,
    FormatMismatch,
    WrongType,
    ConflictError,
    LockTimeout,
    BackendUnavailable,
    NeedsRecovery,
    NotSwitchedIn,
}

struct Class {
    kind: Kind,
    name: &'static str,
    /// The built-in exception that it also is; the root has only this one.
    builtin: Option<&'static str>,
    doc: &'static str,
}

const fn class(
    kind: Kind,
    name: &'static str,
    builtin: Option<&'static str>,
    doc: &'static str,
) -> Class {
    Class { kind, name, builtin, doc }
}

/// Attributes of a `SegmentFull`; None where nobody knows them.
pub const FIGURES: [&str; 4] = ["needed_bytes", "size_bytes", "max_bytes", "free_bytes"];

/// In the order of `Kind`: a class is found by its kind's number.
const CLASSES: [Class; 13] = [
    class(
        Kind::VasmemError,
        "VasmemError",
        Some("Exception"),
        "Base of every exception that vasmem raises on its own behalf.",
    ),
    class(
        Kind::SegmentNotFound,
        "SegmentNotFound",
        Some("FileNotFoundError"),
        "No segment (or VAS) has this name.",
    ),
    class(
        Kind::SegmentExists,
        "SegmentExists",
        Some("FileExistsError"),
        "A segment (or VAS) of this name exists already.",
    ),
    class(
        Kind::PermissionDenied,
        "PermissionDenied",
        Some("PermissionError"),
        "The owner, the mode or the way of attaching does not allow this.",
    ),
    class(
        Kind::SegmentFull,
        "SegmentFull",
        Some("MemoryError"),
        "The segment, or the place it lives in, has no room left. Nothing was changed.\n\n\
         `needed_bytes` were asked for, `size_bytes` it has, `max_bytes` it may have, and \
         `free_bytes` are free on its tmpfs or disk (None if that has no bounds).",
    ),
    class(
        Kind::SegmentCorrupted,
        "SegmentCorrupted",
        None,
        "Bytes in the segment break an invariant; the message names it.",
    ),
    class(
        Kind::FormatMismatch,
        "FormatMismatch",
        None,
        "Not a vasmem segment, or one of a format that this version does not know.",
    ),
    class(
        Kind::WrongType,
        "WrongType",
        Some("TypeError"),
        "This object cannot be a key or a value here, or the structure is of another kind.",
    ),
    class(
        Kind::ConflictError,
        "ConflictError",
        None,
        "Others changed what the transaction had read; it changed nothing and can be run again.",
    ),
    class(
        Kind::LockTimeout,
        "LockTimeout",
        Some("TimeoutError"),
        "Another process held a lock for longer than the timeout; the message names it.",
    ),
    class(
        Kind::BackendUnavailable,
        "BackendUnavailable",
        None,
        "The backend cannot work on this machine; the message says what is missing.",
    ),
    class(
        Kind::NeedsRecovery,
        "NeedsRecovery",
        None,
        "The segment must be recovered by a writer before it can be attached read-only.",
    ),
    class(
        Kind::NotSwitchedIn,
        "NotSwitchedIn",
        None,
        "The segment belongs to a VAS that this thread is not switched into.",
    ),
];

const _: () = {
    let mut number = 0;
    while number < CLASSES.len() {
        assert!(CLASSES[number].kind as usize == number);
        number += 1;
    }
};

static BUILT: PyOnceLock<Vec<Py<PyType>>> = PyOnceLock::new();

fn build(py: Python<'_>) -> PyResult<Vec<Py<PyType>>> {
    let builtins = py.import("builtins")?;
    let metaclass = py.get_type::<PyType>();
    let mut built: Vec<Py<PyType>> = Vec::with_capacity(CLASSES.len());
    for class in &CLASSES {
        let mut bases = Vec::with_capacity(2);
        bases.extend(built.first().map(|root| root.bind(py).clone().into_any()));
        if let Some(name) = class.builtin {
            bases.push(builtins.getattr(name)?);
        }
        let body = PyDict::new(py);
        body.set_item("__module__", "vasmem")?;
        body.set_item("__doc__", class.doc)?;
        if class.kind == Kind::SegmentFull {
            FIGURES.iter().try_for_each(|figure| body.set_item(figure, py.None()))?;
        }
        let made = metaclass.call1((class.name, PyTuple::new(py, bases)?, body))?;
        built.push(made.cast_into::<PyType>()?.unbind());
    }
    Ok(built)
}

impl Kind {
    /// The Python class, built with the first call in the process.
    ///
    /// # Errors
    /// Only what making a class can raise (no memory).
    pub fn class<'py>(self, py: Python<'py>) -> PyResult<&'py Bound<'py, PyType>> {
        let built = BUILT.get_or_try_init(py, || build(py))?;
        Ok(built[self as usize].bind(py))
    }

    /// An exception of this class. The message says what, where, and what to do.
    pub fn error(self, message: impl Into<String>) -> PyErr {
        let message = message.into();
        Python::attach(|py| match self.class(py) {
            Ok(class) => PyErr::from_type(class.clone(), message),
            Err(failure) => failure,
        })
    }

    /// As `error`, with the exception that led to it as `__cause__`.
    pub fn caused_by(self, py: Python<'_>, message: impl Into<String>, cause: PyErr) -> PyErr {
        let error = self.error(message);
        error.set_cause(py, Some(cause));
        error
    }
}

/// Puts the classes into the module `_core`.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    for class in &CLASSES {
        module.add(class.name, class.kind.class(module.py())?)?;
    }
    Ok(())
}
