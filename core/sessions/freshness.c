// SPDX-License-Identifier: Apache-2.0
#include "core/sessions/freshness.h"

#include "core/protocol/wg_wire.h"

static bool is_above(const uint8_t *timestamp, const uint8_t *other)
{
	return memcmp(timestamp, other, WIRE_TIMESTAMP_SIZE) > 0;
}

static bool jumped_ahead(const struct freshness *freshness, const uint8_t *timestamp, uint64_t now)
{
	uint64_t then = load_be64(freshness->last), elapsed = (now - freshness->at) / NS_PER_S;
	return load_be64(timestamp) > then &&
	       load_be64(timestamp) - then > elapsed + elapsed / FRESHNESS_DRIFT + FRESHNESS_JUMP_S;
}

enum freshness_verdict freshness_judge(const struct freshness *freshness, const uint8_t timestamp[WIRE_TIMESTAMP_SIZE],
				       uint64_t cookie, uint64_t now)
{
	/* One that was given before the last HELLO was accepted may stand in that very HELLO, if that came from
	 * elsewhere than the cookie is for. */
	if (cookie > freshness->cookie && (cookie > freshness->mark || is_above(timestamp, freshness->highest)))
		return FRESHNESS_PROVEN;
	if (!freshness->proven)
		return FRESHNESS_STALE;
	/* Each HELLO for as long as a cookie is valid carries it: their timestamps order them. */
	if (cookie != 0 && cookie == freshness->cookie && is_above(timestamp, freshness->last))
		return FRESHNESS_PROVEN;
	if (!is_above(timestamp, freshness->highest) || jumped_ahead(freshness, timestamp, now))
		return FRESHNESS_STALE;
	return cookie != 0 ? FRESHNESS_PROVEN : FRESHNESS_NEWER;
}

void freshness_accept(struct freshness *freshness, const uint8_t timestamp[WIRE_TIMESTAMP_SIZE], uint64_t cookie,
		      uint64_t mark, uint64_t now)
{
	freshness->mark = mark;
	if (cookie > freshness->cookie)
		freshness->cookie = cookie;
	if (is_above(timestamp, freshness->highest))
		memcpy(freshness->highest, timestamp, sizeof freshness->highest);
	memcpy(freshness->last, timestamp, sizeof freshness->last);
	freshness->at = now;
	freshness->proven = true;
}

enum freshness_verdict freshness_judge_wireguard(const struct freshness *freshness,
						 const uint8_t timestamp[WIRE_TIMESTAMP_SIZE], uint64_t now)
{
	if (!is_above(timestamp, freshness->highest))
		return FRESHNESS_STALE;
	if (freshness->proven && now - freshness->at < WG_INITIATION_INTERVAL_MS * NS_PER_MS)
		return FRESHNESS_TOO_SOON;
	return FRESHNESS_NEWER;
}

void freshness_accept_wireguard(struct freshness *freshness, const uint8_t timestamp[WIRE_TIMESTAMP_SIZE], uint64_t now)
{
	memcpy(freshness->highest, timestamp, sizeof freshness->highest);
	freshness->at = now;
	freshness->proven = true;
}
