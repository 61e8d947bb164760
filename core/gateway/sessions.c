// SPDX-License-Identifier: Apache-2.0
#include "core/gateway/sessions.h"

#include <stdio.h>

#define RELAXED(word) atomic_load_explicit(&(word), memory_order_relaxed)

static bool has_address(const struct session *session, const struct ip_address *address)
{
	return ip_address_equal(&session->inner4.address, address) ||
	       ip_address_equal(&session->inner6.address, address);
}

static bool matches(const struct session *session, const struct gateway_sessions_query *query)
{
	if (!(session_is_active(session) ? query->active : query->pending))
		return false;
	if (query->public_key != NULL && memcmp(session->peer->public_key, query->public_key, KEY_SIZE) != 0)
		return false;
	return query->address.family == 0 || has_address(session, &query->address);
}

static json_t *addresses(const struct session *session)
{
	char text[IP_TEXT_MAX];
	json_t *array = json_array();
	if (session->inner4.address.family != 0)
		json_array_append_new(array, json_string(ip_address_format(&session->inner4.address, text)));
	if (session->inner6.address.family != 0)
		json_array_append_new(array, json_string(ip_address_format(&session->inner6.address, text)));
	return array;
}

/* Its words may be of two endpoints while a client moves. */
static json_t *endpoint(const struct session_view *view)
{
	char text[ENDPOINT_TEXT_MAX];
	uint64_t words[2] = {RELAXED(view->remote[0]), RELAXED(view->remote[1])};
	struct sockaddr_in6 remote = {.sin6_family = AF_INET6, .sin6_port = (in_port_t)RELAXED(view->remote[2])};
	memcpy(&remote.sin6_addr, words, sizeof words);
	return remote.sin6_port != 0 ? json_string(sockaddr_format(&remote, text)) : json_null();
}

static json_int_t seconds_since(uint64_t then, uint64_t now)
{
	return now > then ? (json_int_t)((now - then) / NS_PER_S) : 0;
}

/* Bits a second, or null. */
static json_t *rate(uint32_t kbits)
{
	return kbits != 0 ? json_integer((json_int_t)kbits * 1000) : json_null();
}

/* What its peer may use, and has used; null without a quota. */
static void describe_quota(json_t *object, const struct session *session, const struct peer_limits *limits)
{
	bool any = limits->quota != 0;
	const struct usage *usage = peer_usage(session->peer);
	uint64_t used = usage != NULL ? RELAXED(usage->used) : 0;
	json_object_set_new(object, "quota", any ? json_integer((json_int_t)limits->quota) : json_null());
	json_object_set_new(object, "quota_period", any ? json_string(calendar_name(limits->period)) : json_null());
	json_object_set_new(object, "quota_rate", any ? rate(limits->after) : json_null());
	json_object_set_new(object, "quota_used", any ? json_integer((json_int_t)used) : json_null());
}

json_t *gateway_session_describe(const struct session_table *table, const struct session *session, uint64_t now)
{
	char id[9], key[KEY_TEXT_SIZE];
	const struct session_view *view = &session->view;
	uint64_t received = RELAXED(view->received);
	(void)snprintf(id, sizeof id, "%08x", session->id);
	key_format(session->peer->public_key, key);
	json_t *idle = received != 0 ? json_integer(seconds_since(received, now)) : json_null();
	struct peer_limits limits = peer_limits(session->peer);
	json_t *object = json_pack(
		"{s:s, s:s, s:s?, s:s, s:o, s:o, s:s, s:i, s:i, s:I, s:o, s:I, s:I, s:I, s:I, s:I, s:I, s:o, s:o}",
		"id", id, "peer", key, "name", peer_name(session->peer), "protocol",
		peer_protocol_name(peer_protocol(session->peer)), "addresses", addresses(session), "endpoint",
		endpoint(view), "state", session_is_active(session) ? "active" : "pending", "epoch",
		(int)RELAXED(view->epoch), "worker", (int)session_shard(&table->sharding, session->id),
		"connected_seconds", seconds_since(session_since(session), now), "idle_seconds", idle, "rx_packets",
		(json_int_t)RELAXED(view->rx_packets), "rx_bytes", (json_int_t)RELAXED(view->rx_bytes), "tx_packets",
		(json_int_t)RELAXED(view->tx_packets), "tx_bytes", (json_int_t)RELAXED(view->tx_bytes), "roams",
		(json_int_t)RELAXED(view->roams), "rekeys", (json_int_t)RELAXED(view->rekeys), "rate_up",
		rate(limits.up), "rate_down", rate(limits.down));
	if (object != NULL)
		describe_quota(object, session, &limits);
	return object;
}

json_t *gateway_sessions_page(const struct session_table *table, const struct gateway_sessions_query *query,
			      uint64_t now)
{
	uint32_t slots = table->sharding.slot_mask + 1, slot = query->from < slots ? query->from : slots;
	uint32_t last = slots - slot > GATEWAY_SESSIONS_SLOTS ? slot + GATEWAY_SESSIONS_SLOTS : slots;
	uint32_t room = query->count < GATEWAY_SESSIONS_PAGE ? query->count : GATEWAY_SESSIONS_PAGE;
	json_t *list = json_array();
	for (; slot < last && room > 0; slot++) {
		const struct session *session = rcu_read(&table->slots[slot]);
		if (session == NULL || !matches(session, query))
			continue;
		if (json_array_append_new(list, gateway_session_describe(table, session, now)) != 0) {
			json_decref(list);
			return NULL;
		}
		room--;
	}
	return json_pack("{s:o, s:o}", "sessions", list, "next", slot < slots ? json_integer(slot) : json_null());
}
