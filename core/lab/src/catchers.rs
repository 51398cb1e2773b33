//! Which tests must notice which defect.

use vasmem_engine::lab::Mutation::{self, *};

/// A test of the engine or the structures, by the target that holds it; those of `loom` run under
/// `--cfg loom`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Catcher {
    /// Name of the test target.
    pub target: &'static str,
    /// Full name of the test in it.
    pub test: &'static str,
}

const fn of(target: &'static str, test: &'static str) -> Catcher {
    Catcher { target, test }
}

const CONFLICT: Catcher =
    of("transactions", "a_conflicting_transaction_runs_again_and_loses_nothing");
const DEAD_WRITER: Catcher =
    of("kills", "a_reader_sees_all_or_nothing_of_a_dead_writer_and_the_next_writer_agrees");
const CLAIM: Catcher = of("kills", "a_claim_recovers_the_lane_and_its_number_goes_on");
const REPEATED: Catcher = of("kills", "recovery_may_die_anywhere_and_be_repeated");
const EXCLUDED: Catcher = of("kills", "a_recovery_that_others_finished_meanwhile_changes_nothing");
const DEAD_HOLDER: Catcher = of("kills", "a_dead_token_holder_stops_nobody");
const TOKEN_KEPT: Catcher = of("kills", "recovery_of_another_lane_leaves_the_token");
const POWER: Catcher = of("kills", "power_fails_after_a_kill");
const HEAP: Catcher = of("heap", "the_heap_is_whole_after_power_failures");
const NESTED: Catcher = of("explore", "nested_schedules_with_kills_are_serial");
const ORDER: Catcher = of("counterexamples", "locks_are_taken_in_one_order");
const E1: Catcher = of("counterexamples", "e1_what_was_only_read_cannot_change_before_the_commit");
const E2: Catcher = of("counterexamples", "e2_a_freed_node_is_bumped");
const E3: Catcher = of("counterexamples", "e3_a_freed_node_is_not_reused_under_its_old_lock");
const E4: Catcher = of("counterexamples", "e4_a_lock_is_never_void");
const E5A: Catcher =
    of("counterexamples", "e5_a_read_only_transaction_compares_effective_versions");
const E5B: Catcher = of("counterexamples", "e5_a_locked_navigation_read_does_not_validate");
const E6: Catcher = of("hosts", "e6_death_is_looked_at_under_the_recovery_lock");
const FILL: Catcher = of("counterexamples", "a_fresh_block_is_filled_under_the_lock_of_its_run");
const REUSE: Catcher =
    of("counterexamples", "a_block_freed_in_a_transaction_is_not_allocated_in_it");
const NEWCOMER: Catcher = of("counterexamples", "a_slow_reader_notices_the_newcomer_on_the_lane");
const LATE_PIN: Catcher = of("pins", "a_pin_that_comes_too_late_pins_what_is_there_now");
const PINS_AFTER_LOCKS: Catcher = of("pins", "a_commit_looks_at_pins_after_its_locks");
const PINNED_STAYS: Catcher = of("pins", "a_pinned_block_stays_until_it_is_unpinned");
const MARK: Catcher = of("marks", "a_clean_file_holds_all_whenever_the_power_fails");
const DEAD_MARKER: Catcher = of("marks", "a_writer_dies_and_the_next_one_syncs");
const PINNING: Catcher = of("loom", "pins::a_block_is_pinned_while_another_frees_it");
const READER: Catcher = of("loom", "readers::a_plain_reader_meets_a_commit");
const SLOW: Catcher = of("loom", "readers::a_slow_reader_meets_the_next_record");
const LOCK_SEEN: Catcher = of("loom", "readers::a_lock_is_not_seen_before_its_record");
const NEXT_RECORD: Catcher = of("loom", "readers::a_read_only_transaction_meets_the_next_record");
const BOTH: Catcher =
    of("loom", "readers::a_read_only_transaction_meets_a_commit_of_both_its_nodes");
const DYING: Catcher = of("loom", "recovery::a_writer_dies_under_a_waiting_one");
const COPYING: Catcher = of("loom", "reuse::a_deleted_record_is_reused_under_a_copying_reader");
const DESCENDING: Catcher = of("loom", "reuse::a_freed_node_is_reused_under_a_descending_reader");
const TOKEN: Catcher = of("loom", "token::a_token_holder_is_alone");
const LOCKER: Catcher = of("loom", "writers::an_abort_and_a_second_attempt_meet_a_locker");
const CROSSING: Catcher = of("loom", "writers::two_writers_with_crossing_navigation");
const SMALL: Catcher = of("small_kills", "survivors_find_all_or_nothing_of_a_change");
const GIVEN_BACK: Catcher = of("small_kills", "who_waits_for_an_item_can_see_that_one_is_there");
const ROWS: Catcher = of("array_kills", "readers_in_the_middle_of_a_change_see_all_or_nothing");
const STALE_ROWS: Catcher = of("array_kills", "a_stale_record_reaches_no_rows_that_were_given_up");
const ABANDONED: Catcher =
    of("small_kills", "the_next_owner_of_a_lock_is_told_that_the_last_one_died");
const LEASES: Catcher = of("small_kills", "items_of_a_dead_consumer_come_first");
const LATER_STRIPE: Catcher =
    of("array_kills", "a_reader_of_a_later_stripe_alone_sees_all_or_nothing");
const STASH: Catcher = of("typed", "keys_in_the_stash_are_found_after_a_split");
const ONE_VALUE: Catcher = of("typed_kills", "a_reader_in_the_middle_of_a_node_sees_one_value");
const TYPED: Catcher = of("typed", "it_grows_and_forgets_nothing");

/// The tests that must fail under `mutation`, each of them.
pub fn of_mutation(mutation: Mutation) -> &'static [Catcher] {
    match mutation {
        None => &[],
        SkipValidation => &[CONFLICT],
        ApplyBeforeCommitted | UnlockBeforeApply => &[DEAD_WRITER, READER],
        IdleBeforeUnlock | LockWithoutPrepared | ClaimWithoutRecovery => &[CLAIM],
        AbortIdleBeforeUnlock => &[NESTED],
        TokenClearedBlindly => &[TOKEN_KEPT],
        LocksOutOfOrder => &[ORDER],
        RecoveryNotGated => &[NESTED, DYING],
        RecoveryWithoutLock => &[EXCLUDED],
        RecoveryIdleFirst => &[REPEATED],
        DeathNotLookedAtAgain => &[E6],
        VoidSteal => &[E4, LOCKER],
        RawWordValidation => &[E5A, BOTH],
        NoSecondLook => &[NEXT_RECORD],
        PreparedPassesValidation => &[E5B, CROSSING],
        ReadsNotLocked => &[E1],
        ValidateBeforeLocking => &[CROSSING],
        NoRecordRecheck | NoWordRecheck | NoFenceBeforeApply | NoFenceBeforeRecheck => &[READER],
        NoParentRecheck => &[DESCENDING],
        FreeWithoutBumpFillUnlocked => &[E2, DESCENDING],
        FreeWithoutBump => &[E2],
        FillUnlockedParentFirst => &[E3],
        EarlyFill => &[FILL],
        ReuseInTransaction => &[REUSE],
        TokenBeforePrepared | TokenNoWait => &[TOKEN],
        DeadHolderNotRecovered => &[DEAD_HOLDER],
        NoFenceBeforeList | SeqNotCompared => &[SLOW],
        RelaxedLock => &[LOCK_SEEN],
        NoFullFence => &[CROSSING, TOKEN],
        SeqRestarts => &[NEWCOMER],
        GoodSumRolledBack => &[POWER],
        NoFenceBeforeFill => &[COPYING],
        PinNotLookedAtAgain => &[LATE_PIN],
        PinsNotLookedAt => &[PINS_AFTER_LOCKS, PINNING],
        PinnedFreed => &[PINNED_STAYS],
        CleanBeforeSync => &[DEAD_MARKER],
        DirtyNotSynced => &[MARK],
        RecordNotDrained | RecordNotFlushed | HomeNotDrained | HomeNotFlushed => &[POWER, HEAP],
        FillsNotFlushed | BumpNotDurable => &[HEAP],
        RedoneNotDurable => &[POWER],
        LeaseKeepsSlot | LeaseNotEnded => &[SMALL],
        GivenBackInSilence => &[GIVEN_BACK],
        StripesNotRead => &[ROWS],
        StripesLeft => &[STALE_ROWS],
        StashNotTold => &[TYPED],
        ClaimNotCounted | OwnersLiveForever => &[ABANDONED, LEASES],
        LeasesNotFirst => &[LEASES],
        FirstStripeOnly => &[LATER_STRIPE],
        SplitForgetsStash => &[STASH],
        NodeNotRechecked => &[ONE_VALUE],
        // Found by `crash defects`.
        StateDecides | SumIgnored | SumWithoutFills | NotBumped => &[],
        UnlockBeforeDurable | LocksNotSwept | IdleNotDurable | TargetsNotDurable => &[],
        BackedNotDurable => &[],
    }
}
