// SPDX-License-Identifier: Apache-2.0
/* Sessions that stay as clients do (core/protocol/PROTOCOL.md, 8): each says something now and then, and connects again
 * when the gateway does not know it any more, or did not answer its DATA. */
#include "perf/stgun/stgun.h"

enum { HOLD_TURN = 64 };
#define SILENCE_MS (SESSION_SILENCE_NS / NS_PER_MS)

static uint32_t milliseconds(const struct stgun_thread *thread)
{
	uint32_t ms = (uint32_t)(thread->now / NS_PER_MS);
	return ms != 0 ? ms : 1;
}

static bool is_silent(const struct stgun_thread *thread, const struct stgun_session *session)
{
	return session->awaiting_reply_since != 0 && milliseconds(thread) - session->awaiting_reply_since >= SILENCE_MS;
}

/* False: no room; later. */
static bool say(struct stgun_thread *thread, struct stgun_session *session)
{
	if (transport_key_spent(session->key))
		return true;
	if (!thread->stgun->options->say_data)
		return stgun_send_control(thread, session, WIRE_KEEPALIVE, NULL, 0);
	struct stgun_packet_stamp stamp = {.kind = PACKET_DATA,
					   .session = thread->first + (uint32_t)(session - thread->sessions),
					   .time = thread->now};
	uint32_t size = (uint32_t)stgun_packet_size_least(thread->form.version);
	if (!stgun_seal_packet(thread, session, size, &stamp, 0))
		return false;
	stgun_count(thread, sealed, 1);
	if (session->awaiting_reply_since == 0)
		session->awaiting_reply_since = milliseconds(thread);
	return true;
}

bool stgun_hold(struct stgun_thread *thread)
{
	uint32_t turns = 0;
	for (; turns < HOLD_TURN && pacer_due(&thread->pacer, thread->now, 1) != 0; turns++) {
		struct stgun_session *session = &thread->sessions[thread->next];
		if (session->key != NULL && session->attempt == NULL) {
			if (is_silent(thread, session)) {
				stgun_count(thread, silences, 1);
				stgun_heard(session);
				stgun_redial(thread, session);
			} else if (!say(thread, session)) {
				break;
			}
		}
		thread->next = thread->next + 1 < thread->count ? thread->next + 1 : 0;
		thread->pacer.issued++;
	}
	return turns != 0;
}

void stgun_lost(struct stgun_thread *thread, struct stgun_session *session)
{
	if (thread->order.phase == STGUN_HOLD)
		stgun_redial(thread, session);
}
