//! The suite that each backend passes: what the traits promise, case by case, in words of no backend.
//!
//! A backend implements [`Maker`] and calls [`conformance!`](crate::conformance!) in its tests; each case gets a
//! maker of its own. Absent on purpose: faults of the machine (a full disk, a failed fsync) and limits on time,
//! which each backend proves with its own means.

#![expect(clippy::unwrap_used, reason = "a suite of tests")]

pub mod attempts;
pub mod audit;
pub mod catalog;
pub mod consumer_properties;
pub mod consumers;
pub mod deliveries;
pub mod endpoints;
pub mod feed;
pub mod fixture;
pub mod idempotency;
pub mod keys;
pub mod messages;
pub mod modes;
pub mod properties;
pub mod recovery;
pub mod upkeep;
pub mod work_queue;

pub use fixture::Maker;

/// Makes a test of each case of the suite, each with a maker of its own.
#[macro_export]
macro_rules! conformance {
    ($maker:expr) => {
        $crate::conformance!(@ $maker, catalog:
            an_app_is_found_by_id_and_uid,
            a_uid_of_an_app_is_taken_once,
            a_stale_change_of_an_app_is_refused,
            a_deleted_app_is_unreachable_and_owes_nothing,
            apps_are_listed_in_pages,
            an_event_type_reads_back_what_was_written,
            an_event_type_is_made_changed_and_deleted,
            event_types_are_listed_in_pages,
        );
        $crate::conformance!(@ $maker, keys:
            an_environment_is_made_on_first_sight,
            the_first_environment_is_made_once,
            a_key_is_found_by_its_hash,
            a_key_is_revoked_once,
            the_last_use_of_keys_is_noted,
            a_key_of_a_deleted_app_opens_nothing,
            a_key_that_ended_long_ago_is_gone,
            keys_that_ended_long_ago_are_gone_however_many,
            a_poller_token_is_made_once,
            a_new_poller_token_ends_those_before,
            so_many_older_poller_tokens_are_kept,
            a_poller_token_of_what_is_deleted_opens_nothing,
        );
        $crate::conformance!(@ $maker, endpoints:
            an_endpoint_reads_back_what_was_written,
            a_uid_of_an_endpoint_is_taken_once,
            a_stale_change_of_an_endpoint_is_refused,
            every_change_is_a_new_version,
            an_endpoint_is_disabled_once_and_begins_anew,
            deleted_endpoints_are_owed_nothing,
            what_gathered_is_due_when_an_endpoint_is_set_to_push,
        );
        $crate::conformance!(@ $maker, modes:
            what_leaves_push_is_not_due_any_more,
            what_was_in_flight_at_a_change_of_mode_is_written_as_it_ended,
            an_endpoint_drains_until_it_is_said_to_be_over,
            what_readers_were_done_with_is_not_pushed,
            what_readers_were_done_with_of_a_long_queue_is_not_pushed,
            a_change_of_mode_ends_what_an_earlier_one_left_to_do,
            what_is_pushed_again_waits_for_its_own_time,
            a_consumer_to_go_on_from_must_exist,
            an_endpoint_is_pushed_again_where_its_reader_is,
            an_endpoint_that_fails_is_held,
        );
        $crate::conformance!(@ $maker, messages:
            a_message_reads_back_what_was_written,
            a_message_is_found_by_its_own_id_in_its_own_app,
            a_stale_match_is_refused_and_nothing_is_stored,
            a_message_has_a_delivery_for_each_target,
            an_event_id_is_taken_while_its_message_is_kept,
            a_reader_behind_many_writers_misses_nothing,
            refused_changes_among_appends_leave_no_gap,
            positions_are_never_given_twice,
            time_never_goes_back_in_the_log,
            messages_are_listed_in_pages,
            a_long_list_goes_on_where_a_page_came_back_short,
            an_expunged_message_is_owed_to_nobody,
            listeners_are_told_before_the_answer,
        );
        $crate::conformance!(@ $maker, idempotency:
            a_repeated_request_stores_one_message,
            a_key_counts_for_twelve_hours,
            a_key_of_a_message_that_is_gone_begins_anew,
            concurrent_requests_with_one_key_store_one_message,
            a_repeated_request_does_not_clash_with_its_own_event_id,
        );
        $crate::conformance!(@ $maker, deliveries:
            what_is_due_comes_in_the_order_of_time,
            what_is_owed_comes_in_the_order_of_the_queue,
            owed_endpoints_have_their_earliest_due_time,
            a_delivery_stands_as_it_was_settled,
            a_delivery_is_settled_without_an_attempt,
            only_success_undoes_a_cancellation,
            a_message_is_sent_again_by_hand,
            deliveries_are_listed_in_pages,
            an_unknown_endpoint_or_message_has_no_deliveries,
        );
        $crate::conformance!(@ $maker, attempts:
            an_attempt_reads_back_what_was_written,
            an_attempt_is_found_through_its_message,
            attempts_stay_when_a_message_is_sent_again,
            attempts_of_an_endpoint_are_listed_in_pages,
            attempts_for_a_message_are_listed_in_pages,
            the_answer_of_an_attempt_is_erased,
            outcomes_are_written_in_the_order_given,
        );
        $crate::conformance!(@ $maker, feed:
            a_queue_is_read_in_its_order,
            a_reader_leaves_out_what_a_push_brought,
            a_page_of_a_queue_says_how_far_it_got,
            a_queue_begins_where_retention_got_to,
            a_moment_has_a_place_in_a_queue,
            a_reader_at_the_head_misses_nothing,
        );
        $crate::conformance!(@ $maker, recovery:
            a_recovery_reopens_what_failed,
            a_recovery_goes_on_after_a_restart,
            a_recovery_respects_what_became_of_its_endpoint,
        );
        $crate::conformance!(@ $maker, consumers:
            a_consumer_begins_where_it_says,
            what_is_kept_is_no_gap,
            a_consumer_is_made_once_and_changed_and_deleted,
            consumers_are_listed_in_pages,
            an_endpoint_has_so_many_consumers,
            of_two_who_read_the_same_place_one_gets_it,
            a_named_holder_gets_again_what_it_has_not_committed,
            what_a_crashed_holder_was_handed_comes_back,
            a_lease_from_before_the_clock_was_put_back_has_ended,
            what_is_committed_stays_so,
            a_commit_ahead_or_of_another_is_refused,
            a_place_that_was_shown_is_committed,
            no_consumer_is_beyond_the_end,
            a_consumer_is_put_back_and_forth,
            what_a_consumer_has_not_done_is_told,
            a_consumer_that_is_not_seen_expires,
            a_consumer_that_is_being_read_does_not_expire,
            consumers_go_with_their_endpoint,
            a_consumer_is_the_same_after_a_restart,
        );
        $crate::conformance!(@ $maker, work_queue:
            an_item_comes_back_until_it_is_done,
            acks_out_of_order_commit_up_to_what_is_not_done,
            an_item_comes_back_after_its_delay,
            an_item_is_kept_longer_by_who_has_it,
            an_item_handed_out_too_often_is_parked,
            parked_items_are_listed_and_replayed,
            an_answer_ahead_is_refused_whole,
            no_more_is_taken_than_may_be,
            who_finds_nothing_need_not_ask_again,
            a_stream_and_a_work_queue_keep_off_each_other,
            an_answer_does_not_end_what_a_stream_was_handed,
            a_hole_that_retention_left_is_done,
            a_work_queue_passes_over_what_a_push_brought,
            a_work_queue_passes_over_a_long_stretch_in_steps,
            what_retention_removed_is_told_to_a_work_queue,
            what_is_done_stays_so_when_retention_removes_what_is_not,
        );
        $crate::conformance!(@ $maker, consumer_properties:
            a_stream_is_handed_out_until_it_is_committed,
            every_item_is_handed_out_until_it_is_done,
        );
        $crate::conformance!(@ $maker, audit:
            an_audit_says_what_became_of_everything,
            an_audit_says_what_retention_removed,
            an_audit_knows_a_hole_that_retention_left,
            an_audit_comes_in_pages,
        );
        $crate::conformance!(@ $maker, upkeep:
            what_is_older_than_it_is_kept_goes,
            retention_works_in_steps,
            retention_goes_on_after_a_restart,
            what_was_sent_again_goes_with_its_message,
            consumers_that_are_behind_are_told_of,
            a_payload_is_erased_when_its_time_is_over,
            payloads_are_erased_by_age,
            the_books_balance,
            a_backup_made_while_writing_is_consistent,
            the_history_is_kept,
            a_store_in_order_says_so,
            a_closed_store_refuses,
        );
        $crate::conformance!(@ $maker, properties:
            a_list_is_what_its_filter_says,
            positions_are_dense_whatever_is_refused,
        );
    };
    (@ $maker:expr, $group:ident: $($case:ident),+ $(,)?) => {
        mod $group {
            use super::*;

            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $case() {
                    $crate::conformance::$group::$case(&$maker).await;
                }
            )+
        }
    };
}
