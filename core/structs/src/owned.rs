//! Two words of a node that say who holds something.

use vasmem_engine::{
    Access, Host, Invariant, Memory, Offset, Owner, Reached, Result, Touched, Transaction,
};

/// Lanes that a segment can have.
const LANES_MAX: u16 = 1023;

/// Who holds what the words at `at` are about; `None` for nobody.
pub fn owner<A: Access>(access: &A, view: &A::View, at: Offset) -> Result<Option<Owner>> {
    let words = [access.word(view, at), access.word(view, at + 8)];
    match Owner::of(words) {
        Some(owner) if owner.lane >= LANES_MAX => Err(access.broken(view, Invariant::Owner, at)),
        owner => Ok(owner),
    }
}

/// Makes it that of an owner, or nobody's.
pub fn set_owner<M: Memory, H: Host>(
    tx: &mut Transaction<'_, M, H>,
    view: &Touched,
    at: Offset,
    owner: Option<Owner>,
) {
    let [who, claim] = owner.map_or([0, 0], Owner::words);
    tx.write(view, at, who);
    tx.write(view, at + 8, claim);
}

/// Notes an owner that makes no sense.
pub fn reach_owner<A: Access>(access: &A, view: &A::View, at: Offset, reached: &mut Reached) {
    if owner(access, view, at).is_err() {
        reached.broken(Invariant::Owner, at, "a lock or lease of a lane that there is not");
    }
}
