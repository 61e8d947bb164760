// SPDX-License-Identifier: Apache-2.0
#include "core/protocol/messages.h"

#include <sodium.h>

#include "core/base/hot.h"

const struct wire_message wire_messages[WIRE_TYPES] = {
#define X(name_, number, class_, receiver_, least_, greatest_, flags_, received_, sent_) \
	[number] = {                                                                     \
		.name = #name_,                                                          \
		.least = (least_),                                                       \
		.greatest = (greatest_),                                                 \
		.received = (received_),                                                 \
		.sent = (sent_),                                                         \
		.class = WIRE_CLASS_##class_,                                            \
		.receiver = WIRE_SIDE_##receiver_,                                       \
		.flags = (flags_),                                                       \
	},
	WIRE_MESSAGES(X)
#undef X
};

/* A type with one length. */
#define HANDSHAKE(name_, size, received_, sent_)                                                                \
	{                                                                                                       \
		.name = (name_), .least = (size), .greatest = (size), .received = (received_), .sent = (sent_), \
		.class = WIRE_CLASS_HANDSHAKE, .receiver = WIRE_SIDE_GATEWAY                                    \
	}

const struct wire_message wg_messages[WG_TYPES] = {
	[WG_INITIATION] = HANDSHAKE("initiation", WG_INITIATION_SIZE, STATS_rx_wg_initiation, STATS_tx_wg_initiation),
	[WG_RESPONSE] = HANDSHAKE("response", WG_RESPONSE_SIZE, STATS_rx_wg_response, STATS_tx_wg_response),
	[WG_COOKIE_REPLY] = HANDSHAKE("cookie reply", WG_COOKIE_REPLY_SIZE, STATS_rx_wg_cookie, STATS_tx_wg_cookie),
	[WG_DATA] = {.name = "data",
		     .least = WG_DATA_MIN,
		     .greatest = UINT32_MAX,
		     .received = WIRE_UNCOUNTED,
		     .sent = WIRE_UNCOUNTED,
		     .class = WIRE_CLASS_DATA,
		     .receiver = WIRE_SIDE_GATEWAY},
};
#undef HANDSHAKE

#define X(name, number, class, receiver, least, greatest, ...)                                   \
	_Static_assert((number) < WIRE_TYPES, #name ": the type has four bits");                 \
	_Static_assert((least) >= WIRE_SMALLEST && (greatest) >= (least), #name ": its length"); \
	_Static_assert(WIRE_CLASS_##class == WIRE_CLASS_HANDSHAKE || (least) >= WIRE_OVERHEAD,   \
		       #name ": a sealed message has a header and a tag");
WIRE_MESSAGES(X)
#undef X

static enum drop_reason check_length(const struct wire_message *type, uint32_t length)
{
	if (length < type->least)
		return DROP_RUNT;
	if (length > type->greatest)
		return DROP_OVERSIZED;
	bool between = length != type->least && length != type->greatest;
	return (type->flags & WIRE_ENDS_ONLY) != 0 && between ? DROP_OVERSIZED : DROP_NONE;
}

static enum drop_reason check(const struct wire_message *type, enum wire_side side, const uint8_t *message,
			      uint32_t length)
{
	if (type->class == WIRE_CLASS_NONE)
		return DROP_TYPE;
	if (type->class == WIRE_CLASS_HANDSHAKE) {
		if (wire_high(message) != WIRE_VERSION)
			return DROP_VERSION;
		if ((type->receiver & side) == 0)
			return DROP_TYPE;
	}
	return check_length(type, length);
}

HOT struct wire_verdict wire_classify_other(enum wire_side side, const uint8_t *message, uint32_t length)
{
	if (length < WIRE_SMALLEST)
		return (struct wire_verdict){WIRE_CLASS_NONE, DROP_RUNT};
	const struct wire_message *type = &wire_messages[wire_type(message)];
	return (struct wire_verdict){(enum wire_class)type->class, check(type, side, message, length)};
}

struct wire_verdict wg_classify(enum wire_side side, const uint8_t *message, uint32_t length)
{
	if (length < WIRE_SMALLEST)
		return (struct wire_verdict){WIRE_CLASS_NONE, DROP_RUNT};
	uint32_t number = load_le32(message);
	if (number >= WG_TYPES || (wg_messages[number].receiver & side) == 0)
		return (struct wire_verdict){WIRE_CLASS_NONE, DROP_TYPE};
	const struct wire_message *type = &wg_messages[number];
	return (struct wire_verdict){(enum wire_class)type->class, check_length(type, length)};
}

bool wire_probe_read(struct wire_probe *probe, const uint8_t *payload, uint32_t length)
{
	if (length != WIRE_PROBE_SIZE)
		return false;
	*probe = (struct wire_probe){(enum wire_probe_kind)payload[0], load_be64(payload + 1)};
	return true;
}

void wire_probe_write(uint8_t payload[WIRE_PROBE_SIZE], enum wire_probe_kind kind, uint64_t nonce)
{
	payload[0] = (uint8_t)kind;
	store_be64(payload + 1, nonce);
}

const char *wire_bye_text(unsigned reason)
{
	static const char *const texts[] = {
		[WIRE_BYE_LEAVING] = "going away",
		[WIRE_BYE_RESTARTING] = "restarting",
		[WIRE_BYE_REMOVED] = "removed by the operator",
		[WIRE_BYE_REPLACED] = "replaced by a newer session",
		[WIRE_BYE_TIMED_OUT] = "timed out",
	};
	return reason < ARRAY_SIZE(texts) ? texts[reason] : "unknown reason";
}

bool wire_reset_matches(const uint8_t message[WIRE_RESET_SIZE], uint32_t session_id,
			const uint8_t token[WIRE_RESET_TOKEN_SIZE])
{
	return wire_session_id(message) == session_id &&
	       sodium_memcmp(message + WIRE_HEADER_SIZE, token, WIRE_RESET_TOKEN_SIZE) == 0;
}
