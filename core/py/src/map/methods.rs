//! The methods of Python that all kinds of maps have, each a call of [`Map`](super::Map).

/// Gives them to a class whose field `map` is a `Map`.
#[macro_export]
macro_rules! map_methods {
    ($class:ident) => {
        #[pymethods]
        impl $class {
            #[classmethod]
            fn __class_getitem__(
                cls: &Bound<'_, PyType>,
                item: &Bound<'_, PyAny>,
            ) -> PyResult<Py<PyAny>> {
                let alias = cls.py().import("types")?.getattr("GenericAlias")?;
                Ok(alias.call1((cls, item))?.unbind())
            }

            #[getter]
            fn name(&self) -> &str {
                &self.map.name
            }

            #[getter]
            fn raw(&self) -> bool {
                self.map.raw
            }

            fn __getitem__<'py>(&self, key: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
                self.map.get_item(key)
            }

            #[pyo3(signature = (key, default=None, /))]
            fn get<'py>(
                &self,
                key: &Bound<'py, PyAny>,
                default: Option<Bound<'py, PyAny>>,
            ) -> PyResult<Option<Bound<'py, PyAny>>> {
                Ok(self.map.find(key)?.or(default))
            }

            fn __contains__(&self, key: &Bound<'_, PyAny>) -> PyResult<bool> {
                self.map.contains(key)
            }

            fn __setitem__(
                &self,
                key: &Bound<'_, PyAny>,
                value: &Bound<'_, PyAny>,
            ) -> PyResult<()> {
                self.map.set_item(key, value)
            }

            fn __delitem__(&self, key: &Bound<'_, PyAny>) -> PyResult<()> {
                self.map.del_item(key)
            }

            fn __len__(&self, py: Python<'_>) -> PyResult<usize> {
                self.map.len(py)
            }

            /// Gives the key this value if it is not there yet; whether it was not.
            #[pyo3(signature = (key, value, /))]
            fn add(&self, key: &Bound<'_, PyAny>, value: &Bound<'_, PyAny>) -> PyResult<bool> {
                self.map.add(key, value)
            }

            /// The value of the key; if it is not there, gives it `default`.
            #[pyo3(signature = (key, default=None, /))]
            fn setdefault<'py>(
                &self,
                py: Python<'py>,
                key: &Bound<'py, PyAny>,
                default: Option<Bound<'py, PyAny>>,
            ) -> PyResult<Bound<'py, PyAny>> {
                self.map.setdefault(py, key, default)
            }

            /// Removes the key and returns the value that it had.
            #[pyo3(signature = (key, /, *default))]
            fn pop<'py>(
                &self,
                key: &Bound<'py, PyAny>,
                default: &Bound<'py, PyTuple>,
            ) -> PyResult<Bound<'py, PyAny>> {
                self.map.pop(key, default)
            }

            /// Adds `by` to the number that is the value of the key, 0 if it is not there; the sum.
            #[pyo3(signature = (key, by=None, /))]
            fn incr<'py>(
                &self,
                py: Python<'py>,
                key: &Bound<'py, PyAny>,
                by: Option<Bound<'py, PyAny>>,
            ) -> PyResult<Bound<'py, PyAny>> {
                self.map.incr(py, key, by)
            }

            /// Gives the key the value `new` if its value equals `old`; whether it did.
            #[pyo3(signature = (key, old, new, /))]
            fn compare_and_set(
                &self,
                key: &Bound<'_, PyAny>,
                old: &Bound<'_, PyAny>,
                new: &Bound<'_, PyAny>,
            ) -> PyResult<bool> {
                self.map.compare_and_set(key, old, new)
            }

            /// Gives the key the value `fn(value)`, and returns that.
            #[pyo3(signature = (key, function, /, *default))]
            fn modify<'py>(
                &self,
                key: &Bound<'py, PyAny>,
                function: &Bound<'py, PyAny>,
                default: &Bound<'py, PyTuple>,
            ) -> PyResult<Bound<'py, PyAny>> {
                self.map.modify(key, function, default)
            }

            /// The value, which is bytes, as a read-only memoryview of the segment itself.
            #[pyo3(signature = (key, /))]
            fn view<'py>(&self, key: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyMemoryView>> {
                self.map.view(key)
            }
        }
    };
}
