//! Where the standards leave a choice: what the gateway does, why, and which tests hold it to that.

/// One choice.
pub struct Choice {
    /// What is left open, and where.
    pub question: &'static str,
    /// What the gateway does.
    pub answer: &'static str,
    /// Why.
    pub reason: &'static str,
    /// Names of the tests that would fail if it did otherwise.
    pub tests: &'static [&'static str],
}

const fn choice(
    question: &'static str,
    answer: &'static str,
    reason: &'static str,
    tests: &'static [&'static str],
) -> Choice {
    Choice {
        question,
        answer,
        reason,
        tests,
    }
}

/// All of them.
pub const CHOICES: &[Choice] = &[
    choice(
        "Is CONNACK sent before the close that follows a faulty CONNECT? (5.0: may [MQTT-3.1.4-1]; 3.1.1: must not)",
        "5.0 gets CONNACK with the reason as soon as its version byte was read; 3.x gets the close alone.",
        "Whoever debugs a client learns what is wrong; before the version is known nobody could read an answer.",
        &[
            "v5_v311_mqtt_3_1_4_1_a_connect_cut_short_or_too_long_is_refused",
            "v5_v311_mqtt_3_1_0_1_whoever_does_not_begin_with_connect_hears_nothing",
        ],
    ),
    choice(
        "How is an unsupported level answered? (3.1.1: CONNACK 0x01; 5.0: 0x84 or nothing)",
        "`20 02 00 01` for every level of `MQTT` and `MQIsdp` that is not served; another protocol name gets the close alone.",
        "Those four bytes are read by clients of every version; what does not say MQTT is not answered in MQTT.",
        &[
            "v5_v311_mqtt_3_1_2_2_an_unknown_level_is_answered_in_the_layout_every_client_reads",
            "v5_v311_mqtt_3_1_2_1_another_protocol_name_is_not_answered",
        ],
    ),
    choice(
        "Is a password without a user name accepted? (5.0: yes; 3.1.1 and 3.1: no)",
        "As each version says.",
        "The versions pull opposite ways.",
        &[
            "v5_mqtt_3_1_2_19_a_password_may_come_without_a_user_name",
            "v311_mqtt_3_1_2_22_a_password_needs_a_user_name",
            "v31_a_password_needs_a_user_name",
        ],
    ),
    choice(
        "What of flags in a fixed header that 3.1 calls \"not used\"?",
        "DUP where 3.1 repeats packets (PUBREL, SUBSCRIBE, UNSUBSCRIBE) is accepted; any other is malformed, as in 3.1.1: \
         a DISCONNECT with flags is no goodbye, and the will is published.",
        "Where 3.1 is silent the rules of 3.1.1 are safe; a flag out of place is a sign that both sides no longer read the \
         same stream.",
        &[
            "v31_dup_is_accepted_where_3_1_has_it",
            "v31_a_goodbye_with_flags_is_malformed_and_releases_the_will",
        ],
    ),
    choice(
        "Is an empty client identifier accepted?",
        "5.0: always, and the client is told its own; 3.1.1: with a clean session; 3.1: never.",
        "The versions pull opposite ways; where it is a choice, clients without a name are common and harmless.",
        &[
            "v5_mqtt_3_1_3_6_an_empty_identifier_goes_with_either_clean_start",
            "v311_mqtt_3_1_3_8_an_empty_identifier_needs_a_clean_session",
            "v311_mqtt_3_1_3_6_clients_without_an_identifier_do_not_disturb_each_other",
            "v31_an_empty_identifier_is_refused",
        ],
    ),
    choice(
        "Which client identifiers beyond 23 plain characters are accepted?",
        "Any text up to `limits.client_id_bytes`.",
        "Clients of all versions use longer ones; a limit is there for who wants it.",
        &[
            "v31_an_identifier_of_more_than_23_bytes_is_accepted",
            "v5_v311_mqtt_3_1_3_8_a_refused_identifier_is_answered_and_closed",
        ],
    ),
    choice(
        "What of a client whose Maximum Packet Size has no room for CONNACK, or for the answer to a long SUBSCRIBE?",
        "CONNACK 0x95 if that fits, else the close; DISCONNECT 0x95.",
        "No packet may exceed what the client takes [MQTT-3.1.2-24], and a request that is never answered is worse than an end with a reason.",
        &[
            "v5_mqtt_3_2_2_19_a_refusal_fits_the_clients_maximum_packet_size",
            "v5_mqtt_3_1_2_24_an_answer_that_cannot_fit_is_not_sent",
        ],
    ),
    choice(
        "Does part of a packet count as a sign of life? ([MQTT-3.1.2-22] speaks of packets)",
        "Yes: bytes of a packet that is under way keep the connection. Bytes that stop coming do not.",
        "A client that uploads for longer than its keep-alive cannot send a PINGREQ in between, and breaks no rule of its own.",
        &["v5_v311_any_packet_and_any_part_of_one_is_a_sign_of_life"],
    ),
    choice(
        "Is a cap on the keep-alive applied to clients that cannot be told of it?",
        "No: `limits.keep_alive` is for 5.0 only.",
        "3.1.1 has no Server Keep Alive; cutting a client off at a time it does not know would be no service.",
        &[
            "v311_a_gateway_with_a_keep_alive_of_its_own_leaves_3_1_1_its_choice",
            "v5_mqtt_3_1_2_21_a_keep_alive_given_by_the_gateway_is_the_one_it_enforces",
        ],
    ),
    choice(
        "How is a PUBLISH refused that its client may not send?",
        "5.0: PUBACK or PUBREC 0x87, at QoS 0 silence; 3.x: acknowledged as usual. Nobody gets the message.",
        "3.1.1 offers acknowledging or closing; closing makes clients reconnect and try again forever.",
        &[
            "v5_a_message_nobody_may_publish_is_refused_with_its_reason",
            "v311_mqtt_3_3_5_2_a_message_nobody_may_publish_is_acknowledged_and_goes_nowhere",
            "v31_a_message_nobody_may_publish_is_acknowledged",
        ],
    ),
    choice(
        "What of a message that cannot be stored?",
        "5.0: PUBACK or PUBREC with 0x97 or 0x83; 3.x: the close, without an acknowledgement [MQTT-4.8.0-2].",
        "3.x could not tell a refusal from an acceptance; the client must keep its message.",
        &[
            "v5_what_cannot_be_stored_is_refused",
            "v311_mqtt_4_8_0_2_what_cannot_be_stored_ends_the_connection_that_brought_it",
        ],
    ),
    choice(
        "How is one invalid filter in a SUBSCRIBE treated?",
        "5.0: 0x8F in its place, its neighbours are granted; 3.x: the connection ends.",
        "3.1.1 calls it a protocol violation and has one code, for refusals.",
        &[
            "v5_mqtt_4_7_1_1_a_filter_with_a_misplaced_wildcard_is_refused_alone",
            "v311_mqtt_4_7_1_2_a_filter_with_a_misplaced_wildcard_ends_the_connection",
            "v31_text_and_filters_are_checked_as_in_3_1_1",
        ],
    ),
    choice(
        "How is a filter refused that is well formed?",
        "5.0: 0x87 or 0x8F; 3.1.1: 0x80; 3.1, which has no such code: QoS 0 is granted and nothing comes.",
        "Each version gets what it can read.",
        &[
            "v5_mqtt_3_8_4_7_each_filter_is_granted_or_refused_on_its_own",
            "v311_mqtt_3_8_4_5_each_filter_is_granted_or_refused_on_its_own",
            "v31_a_refused_filter_is_granted_and_brings_nothing",
        ],
    ),
    choice(
        "Are control characters and noncharacters allowed in text? (both standards: should not be sent, may be refused)",
        "Yes, in MQTT, as any other character.",
        "They are well-formed, and refusing them would end connections that other servers keep.",
        &["v5_v311_control_characters_and_noncharacters_are_text"],
    ),
    choice(
        "Does PUBACK tell that nobody subscribed (0x10)?",
        "No: 0x00.",
        "An answer never depends on who receives; 0x00 is always allowed in its place.",
        &["v5_v311_mqtt_3_3_4_1_each_qos_has_its_answer"],
    ),
    choice(
        "Do messages of QoS 0 wait for a session that is away?",
        "No.",
        "QoS 0 promises nothing; what waits takes room from what was promised.",
        &["v5_v311_qos_0_does_not_wait_for_who_is_away"],
    ),
    choice(
        "How many copies do overlapping subscriptions bring?",
        "One, at the highest QoS, with every Subscription Identifier [MQTT-3.3.4-4].",
        "Nobody wants duplicates, and identifiers tell a client all it could learn from them.",
        &[
            "v5_v311_mqtt_3_3_4_2_overlapping_subscriptions_deliver_at_the_highest_qos",
            "v5_mqtt_3_3_4_3_one_copy_carries_all_subscription_identifiers",
        ],
    ),
    choice(
        "May a retained message of QoS 0 be forgotten? (3.1.1: yes; 5.0: no)",
        "No, in no version.",
        "One behaviour for all.",
        &["v5_v311_mqtt_3_3_1_5_a_retained_message_replaces_the_one_before"],
    ),
    choice(
        "Which RETAIN flag do live messages have? (3.1.1: 0; 5.0: by Retain As Published)",
        "As each version says; a bridge (level 0x83, 0x84) is told the flag as published and spared its own messages.",
        "The bridges of Mosquitto rely on it.",
        &[
            "v5_v311_mqtt_3_3_1_12_live_messages_have_no_retain_flag",
            "v5_mqtt_3_3_1_13_retain_as_published_keeps_the_flag",
            "v31_v311_a_bridge_is_recognised_by_its_level",
        ],
    ),
    choice(
        "Is anything sent again within a connection? (3.1: by timer; 3.1.1: not forbidden; 5.0: never)",
        "Never, in no version.",
        "On TCP it helps nobody, and some clients disconnect on it.",
        &[
            "v5_v311_nothing_is_sent_again_on_a_live_connection",
            "v31_what_a_client_repeats_on_a_live_connection_does_no_harm",
        ],
    ),
    choice(
        "Which goodbye removes the will? (3.x: every DISCONNECT; 5.0: 0x00 only)",
        "As each version says; DISCONNECT with wrong flags or a stray code is no goodbye.",
        "The versions pull opposite ways.",
        &[
            "v5_v311_mqtt_3_14_4_3_a_goodbye_leaves_no_will",
            "v5_mqtt_3_14_4_3_any_other_reason_leaves_the_will_due",
            "v5_v311_mqtt_3_14_1_1_a_disconnect_with_flags_is_an_error_and_leaves_the_will",
        ],
    ),
    choice(
        "What of an acknowledgement for an identifier that is not in use?",
        "PUBREC and PUBREL are answered, in 5.0 with 0x92; PUBACK and PUBCOMP are ignored.",
        "After a session was lost on one side such packets are no error.",
        &[
            "v5_mqtt_2_2_1_5_an_unknown_identifier_is_answered_with_0x92",
            "v311_mqtt_2_3_1_6_an_unknown_identifier_is_answered_all_the_same",
        ],
    ),
    choice(
        "What of an acknowledgement that belongs to the other QoS, or comes before its turn?",
        "A protocol error: the connection ends, in 5.0 with 0x82, and the message is still owed.",
        "Accepted, it would end an exchange the client does not know to be over; ignored, the exchange would never end.",
        &["v5_v311_mqtt_4_3_3_3_an_acknowledgement_of_the_other_qos_acknowledges_nothing"],
    ),
    choice(
        "Are QoS, retained messages, wildcards, shared subscriptions and identifiers that are switched off refused to 3.1.1, which cannot be told?",
        "A filter is refused with 0x80; a PUBLISH of that kind ends the connection.",
        "An acknowledgement would say that the message was taken as it was meant.",
        &[
            "v311_mqtt_3_8_3_2_without_wildcards_a_filter_that_has_one_is_rejected",
            "v311_what_is_switched_off_ends_the_connection_that_publishes_it",
        ],
    ),
    choice(
        "When is a QoS 2 message handed on: at PUBLISH or at PUBREL?",
        "At PUBLISH; its identifier marks repetitions until PUBREL, on later connections of the session too.",
        "Either is allowed; this one does not wait for a round trip.",
        &[
            "v5_v311_mqtt_4_3_3_10_a_repeated_qos_2_publish_is_delivered_once",
            "v5_v311_mqtt_2_2_1_3_an_identifier_in_use_marks_a_repetition",
        ],
    ),
    choice(
        "Is a session resumed under another version?",
        "Yes, with the options of its subscriptions.",
        "A client that is upgraded must not lose what waits for it.",
        &["v5_a_session_is_resumed_under_another_version"],
    ),
    choice(
        "What is `$share/...` to 3.1.1?",
        "The shared subscription it is in 5.0.",
        "An extension nobody else is hurt by: 3.1.1 has no other use for such filters.",
        &[
            "v5_v311_each_message_goes_to_one_member_of_each_group",
            "v311_a_share_name_that_is_none_ends_the_connection",
        ],
    ),
    choice(
        "Whose turn is it in a share group?",
        "The next member with room; one whose window is full is passed over while another's is not.",
        "What waits for a client that acknowledges nothing could be done by one that does.",
        &[
            "v5_v311_each_message_goes_to_one_member_of_each_group",
            "v5_what_waits_for_a_member_that_does_not_acknowledge_goes_to_another_when_it_leaves",
            "v5_what_no_member_can_be_sent_waits_for_the_first_who_acknowledges_or_leaves",
        ],
    ),
    choice(
        "Who gets what a member of a share group did not acknowledge when it leaves?",
        "QoS 1: another member, at once; QoS 2: nobody else, the exchange is finished with its session or dies with it.",
        "QoS 1 may repeat and should be done; QoS 2 is bound to its client [MQTT-4.8.2-4], [MQTT-4.8.2-5].",
        &[
            "v5_v311_what_a_leaving_member_did_not_acknowledge_at_qos_1_goes_to_another",
            "v5_mqtt_4_8_2_4_a_qos_2_delivery_is_completed_with_the_member_that_began_it",
        ],
    ),
    choice(
        "Is a payload checked against Payload Format Indicator 1?",
        "Yes: PUBACK or PUBREC 0x99, and nobody gets it.",
        "Optional; but the web side would show such a payload as text.",
        &["v5_a_payload_that_is_not_the_text_it_claims_to_be_is_refused"],
    ),
    choice(
        "Does a repeated subscription with Retain Handling 0 bring what a former one still has to bring?",
        "Once: the newer one brings all of it.",
        "Otherwise a client that repeats its SUBSCRIBE while it reads slowly would make the gateway send without end.",
        &["v5_v311_mqtt_3_8_4_4_replacing_sends_what_is_retained_and_loses_nothing"],
    ),
    choice(
        "What of a WebSocket handshake that does not offer `mqtt`?",
        "Refused with 400; `mqttv3.1` is accepted as well, and no subprotocol binds the version.",
        "3.1 has no name of its own by the standard, and clients offer either.",
        &[
            "v5_v311_mqtt_6_0_0_3_a_handshake_without_the_subprotocol_fails",
            "v5_v311_the_subprotocol_does_not_bind_the_version",
        ],
    ),
    choice(
        "Where is 3.1 silent, and which rules hold there?",
        "Those of 3.1.1, but for bit 0 of the connect flags, which is not checked, and DUP, which is accepted wherever 3.1 has it.",
        "What was allowed stays allowed; what nobody ever meant is refused as anywhere else.",
        &[
            "v31_text_and_filters_are_checked_as_in_3_1_1",
            "v31_bit_0_of_the_connect_flags_is_not_checked",
            "v31_dup_is_accepted_where_3_1_has_it",
        ],
    ),
];
