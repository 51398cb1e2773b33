//! What all structures that lead from keys to values have in common.

use crate::record::{Expected, Located};
use crate::{BTree, HashMap};
use std::ops::Range;
use vasmem_engine::{Access, Host, Memory, Offset, Result, Transaction};

/// A structure of keys with values, all of them bytes. The methods are those of [`HashMap`] and
/// [`BTree`], with the same errors.
pub trait Keyed: Copy + Send + Sync + 'static {
    /// What messages call it.
    const NOUN: &'static str;

    /// Finds the structure called `name`; returns it with its flags.
    fn open<A: Access>(
        access: &mut A,
        directory_at: Offset,
        name: &str,
    ) -> Result<Option<(Self, u8)>>;

    /// Makes an empty one called `name`, which is not there yet.
    fn create<M: Memory, H: Host>(
        tx: &mut Transaction<'_, M, H>,
        name: &str,
        flags: u8,
        id: u64,
    ) -> Result<Self>;

    /// Looks a key up. The value is the returned range of `record`.
    fn get<A: Access>(
        &self,
        access: &mut A,
        key: &[u8],
        record: &mut Vec<u8>,
    ) -> Result<Option<Range<usize>>>;

    /// Whether a key is there.
    fn contains<A: Access>(&self, access: &mut A, key: &[u8], record: &mut Vec<u8>)
    -> Result<bool>;

    /// Where the value of a key stands.
    fn locate<A: Access>(
        &self,
        access: &mut A,
        key: &[u8],
        record: &mut Vec<u8>,
    ) -> Result<Option<Located>>;

    /// Number of keys.
    fn len<A: Access>(&self, access: &mut A) -> Result<u64>;

    /// Whether there is no key.
    fn is_empty<A: Access>(&self, access: &mut A) -> Result<bool> {
        Ok(self.len(access)? == 0)
    }

    /// Gives `key` the value `bytes`; returns whether the key is new.
    fn put<M: Memory, H: Host>(
        &self,
        tx: &mut Transaction<'_, M, H>,
        key: &[u8],
        bytes: &[u8],
        record: &mut Vec<u8>,
    ) -> Result<bool>;

    /// Gives `key` the value `bytes` if `expected` is so; whether it was.
    fn put_if<M: Memory, H: Host>(
        &self,
        tx: &mut Transaction<'_, M, H>,
        key: &[u8],
        expected: Expected<'_>,
        bytes: &[u8],
        record: &mut Vec<u8>,
    ) -> Result<bool>;

    /// Removes a key; the value that it had is the returned range of `record`.
    fn delete<M: Memory, H: Host>(
        &self,
        tx: &mut Transaction<'_, M, H>,
        key: &[u8],
        record: &mut Vec<u8>,
    ) -> Result<Option<Range<usize>>>;
}

macro_rules! keyed {
    ($structure:ident, $noun:literal) => {
        impl Keyed for $structure {
            const NOUN: &'static str = $noun;

            fn open<A: Access>(
                access: &mut A,
                directory_at: Offset,
                name: &str,
            ) -> Result<Option<(Self, u8)>> {
                $structure::open(access, directory_at, name)
            }

            fn create<M: Memory, H: Host>(
                tx: &mut Transaction<'_, M, H>,
                name: &str,
                flags: u8,
                id: u64,
            ) -> Result<Self> {
                $structure::create(tx, name, flags, id)
            }

            #[inline(always)]
            fn get<A: Access>(
                &self,
                access: &mut A,
                key: &[u8],
                record: &mut Vec<u8>,
            ) -> Result<Option<Range<usize>>> {
                self.get(access, key, record)
            }

            #[inline(always)]
            fn contains<A: Access>(
                &self,
                access: &mut A,
                key: &[u8],
                record: &mut Vec<u8>,
            ) -> Result<bool> {
                self.contains(access, key, record)
            }

            fn locate<A: Access>(
                &self,
                access: &mut A,
                key: &[u8],
                record: &mut Vec<u8>,
            ) -> Result<Option<Located>> {
                self.locate(access, key, record)
            }

            fn len<A: Access>(&self, access: &mut A) -> Result<u64> {
                self.len(access)
            }

            #[inline(always)]
            fn put<M: Memory, H: Host>(
                &self,
                tx: &mut Transaction<'_, M, H>,
                key: &[u8],
                bytes: &[u8],
                record: &mut Vec<u8>,
            ) -> Result<bool> {
                self.put(tx, key, bytes, record)
            }

            fn put_if<M: Memory, H: Host>(
                &self,
                tx: &mut Transaction<'_, M, H>,
                key: &[u8],
                expected: Expected<'_>,
                bytes: &[u8],
                record: &mut Vec<u8>,
            ) -> Result<bool> {
                self.put_if(tx, key, expected, bytes, record)
            }

            #[inline(always)]
            fn delete<M: Memory, H: Host>(
                &self,
                tx: &mut Transaction<'_, M, H>,
                key: &[u8],
                record: &mut Vec<u8>,
            ) -> Result<Option<Range<usize>>> {
                self.delete(tx, key, record)
            }
        }
    };
}

keyed!(HashMap, "hash map");
keyed!(BTree, "B-tree");
