// SPDX-License-Identifier: Apache-2.0
/* Sessions that stay as clients do (core/protocol/PROTOCOL.md, 8): each says something now and then, and connects again when the
 * gateway does not know it any more, or did not answer its DATA. */
#include "perf/stgun/stgun.h"

enum { STAY_TURN = 64 };
#define SILENCE_MS (SESSION_SILENCE_NS / NS_PER_MS)

static uint32_t milliseconds(const struct gun_thread *thread)
{
	uint32_t ms = (uint32_t)(thread->now / NS_PER_MS);
	return ms != 0 ? ms : 1;
}

static bool is_silent(const struct gun_thread *thread, const struct gun_session *session)
{
	return session->unanswered != 0 && milliseconds(thread) - session->unanswered >= SILENCE_MS;
}

/* False: no room; later. */
static bool say(struct gun_thread *thread, struct gun_session *session)
{
	if (transport_key_spent(session->key))
		return true;
	if (!thread->gun->options->say_data)
		return gun_send_control(thread, session, WIRE_KEEPALIVE, NULL, 0);
	struct gun_packet_stamp stamp = {.kind = PACKET_DATA,
					 .session = thread->first + (uint32_t)(session - thread->sessions),
					 .time = thread->now};
	uint32_t size = (uint32_t)gun_packet_size_least(thread->form.version);
	if (!gun_seal_packet(thread, session, size, &stamp, 0))
		return false;
	gun_count(thread, sealed, 1);
	if (session->unanswered == 0)
		session->unanswered = milliseconds(thread);
	return true;
}

bool gun_stay(struct gun_thread *thread)
{
	uint32_t turns = 0;
	for (; turns < STAY_TURN && pacer_due(&thread->pacer, thread->now, 1) != 0; turns++) {
		struct gun_session *session = &thread->sessions[thread->next];
		if (session->key != NULL && session->attempt == NULL) {
			if (is_silent(thread, session)) {
				gun_count(thread, silences, 1);
				gun_heard(session);
				gun_redial(thread, session);
			} else if (!say(thread, session)) {
				break;
			}
		}
		thread->next = thread->next + 1 < thread->count ? thread->next + 1 : 0;
		thread->pacer.issued++;
	}
	return turns != 0;
}

void gun_lost(struct gun_thread *thread, struct gun_session *session)
{
	if (thread->order.phase == GUN_STAY)
		gun_redial(thread, session);
}
