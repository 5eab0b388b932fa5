// SPDX-License-Identifier: GPL-2.0

//! Bugs that the explorations must find. `build.rs` plants each into a copy of the sources.

/// One bug: `from` stands exactly once in `file` and is replaced by `to`.
pub(crate) struct Planted {
    pub(crate) name: &'static str,
    pub(crate) file: &'static str,
    pub(crate) from: &'static str,
    pub(crate) to: &'static str,
    /// The exploration that has to find it.
    pub(crate) found_by: &'static str,
}

const IN: &str = "session/inbound.rs";
const OUT: &str = "session/outbound.rs";
const TOP: &str = "session.rs";

const fn plant(
    name: &'static str,
    file: &'static str,
    from: &'static str,
    to: &'static str,
    found_by: &'static str,
) -> Planted {
    Planted {
        name,
        file,
        from,
        to,
        found_by,
    }
}

#[rustfmt::skip]
pub(crate) const PLANTED: &[Planted] = &[
    plant("close_is_answered_with_close", OUT,
        "self.answer |= query;", "self.answer |= query || !self.answer;", "one way"),
    plant("stop_for_an_older_session_ends_this_one", OUT,
        "answers == self.number && self.opened", "self.opened", "one way"),
    plant("stop_does_not_end_the_session", OUT,
        "self.opened {\n            self.end();", "self.opened {", "one way"),
    plant("end_of_file_when_close_arrives", IN,
        "if file < self.index {", "if file < self.index || self.ends > 0 {", "one way"),
    plant("abandoned_is_latched_across_reopen", IN,
        "        self.discard = false;\n        self.started = false;",
        "        self.started = false;", "one way"),
    plant("byte_count_forgotten", OUT,
        "            bytes: self.bytes,\n            unrefused", "            bytes: 0,\n            unrefused", "one way"),
    plant("byte_count_not_compared", IN,
        "expected && close.bytes == self.bytes", "expected", "lost frames"),
    plant("session_number_not_compared", IN,
        "expected && close.bytes == self.bytes", "close.bytes == self.bytes", "lost frames"),
    plant("session_number_not_advanced", OUT,
        "        self.forget();\n        self.number = self.number.wrapping_add(1);\n    }\n\n    /// No file",
        "        self.forget();\n    }\n\n    /// No file", "one way"),
    plant("write_does_not_say_epipe", OUT,
        "file == self.number\n    }", "file <= self.number\n    }", "one way"),
    plant("partner_has_left_and_write_goes_on", IN,
        "file <= self.over", "file < self.over.min(file)", "conversations"),
    plant("last_reader_keeps_the_session_open", OUT,
        "PeerKind::Marks => self.writers,", "PeerKind::Marks => self.files,", "all modes"),
    plant("unread_session_is_discarded", IN,
        "self.readers != 0 || !self.started || self.discard",
        "self.readers != 0 || self.discard", "one way"),
    plant("new_reader_joins_an_abandoned_session", IN,
        "self.index.wrapping_add(u64::from(self.discard))", "self.index", "one way"),
    plant("data_overtakes_the_mark", OUT,
        "self.ended.is_some() || self.empty > 0 || self.hold", "self.hold", "late close"),
    plant("c_peer_is_not_waited_for", OUT,
        "self.hold = peer == PeerKind::Legacy;", "self.hold = false;", "C reads"),
    plant("close_to_a_c_peer_that_has_closed", OUT,
        "        self.flush = self.outstanding() > 0;",
        "        self.ended = Some(Ended { bytes: 0, unrefused: 0, duplex: false, cut: false });", "C both"),
    plant("answer_of_a_c_peer_is_an_end", IN,
        "if !answer && self.waiting", "if self.waiting", "C both"),
    plant("nobody_answers_who_does_not_know", OUT,
        "self.answer |= query;", "let _ = query;", "one unknown"),
    plant("killed_writer_is_an_end_of_file", IN,
        "close.bytes == self.bytes && !close.cut", "close.bytes == self.bytes", "killed writers"),
    plant("killed_writer_spoils_the_next_session", OUT,
        "        self.cut = false;\n        self.bytes = 0;", "        self.bytes = 0;", "killed writers"),
    plant("nothing_of_a_killed_writer_is_an_empty_file", OUT,
        "unheard && (self.duplex || self.cut)", "unheard && self.duplex", "killed writers, late close"),
    plant("damage_forgotten_at_the_end", IN,
        "(self.history << 1) | u64::from(broken)", "self.history << 1", "damage"),
    plant("damaged_close_is_dropped", IN,
        "            self.advance(true);\n            self.resync = true;", "", "damage"),
    plant("damaged_close_between_sessions_drops_the_next", IN,
        "        if begun {", "        if begun || self.readers == 0 {", "damaged stop between sessions"),
    plant("damaged_close_is_believed", IN,
        "            self.resync = true;", "", "damaged stop"),
    plant("forgotten_conversation_marks_the_next_session", OUT,
        "        self.duplex = false;\n        self.cut", "        self.cut", "all modes"),
    plant("empty_file_is_taken_for_a_reader", IN,
        "(close.duplex || close.cut) && close.bytes == 0", "close.bytes == 0", "one way"),
    plant("discarded_bytes_not_counted", IN,
        "counters.dropped_bytes.saturating_add(u64::from(bytes))", "counters.dropped_bytes", "one way"),
    plant("old_file_lives_on_after_replug", TOP,
        "self.generation = self.generation.wrapping_add(1);", "", "cable pulled"),
    plant("old_ring_is_read_by_a_new_file", TOP,
        "let data = data && alive == self.up;", "", "cable pulled"),
];
