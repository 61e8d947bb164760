// SPDX-License-Identifier: Apache-2.0
#include "perf/stgun/stgun.h"

enum { WINDOW = 32 };
#define PATIENCE_NS (20 * NS_PER_MS)
#define SAMPLE_NS   NS_PER_MS /* upwards: how often a round trip is measured, at most */

static bool is_up(const struct stgun_session *session)
{
	return session->key != NULL && !transport_key_spent(session->key);
}

/* A linear congruential generator (D. E. Knuth's MMIX): which session is next need not be hard to guess. */
static uint32_t random_below(struct stgun_thread *thread, uint32_t bound)
{
	thread->random = thread->random * 6364136223846793005ull + 1442695040888963407ull;
	return (uint32_t)((thread->random >> 32) * bound >> 32);
}

/* The next session in turn, or any; NULL when none is up. */
static struct stgun_session *next_session(struct stgun_thread *thread)
{
	if (thread->stgun->options->random)
		thread->next = random_below(thread, thread->count);
	for (uint32_t tried = 0; tried < thread->count; tried++) {
		struct stgun_session *session = &thread->sessions[thread->next];
		thread->next = thread->next + 1 < thread->count ? thread->next + 1 : 0;
		if (is_up(session))
			return session;
	}
	return NULL;
}

/* Room for all of a unit, or none of it is begun. */
static bool make_room(struct stgun_thread *thread, uint32_t bytes)
{
	if (thread->queue.used + bytes <= SEND_QUEUE_BYTES && thread->queue.count + 2 < SEND_QUEUE_TRAINS)
		return true;
	stgun_flush(thread);
	return thread->queue.count == 0;
}

bool stgun_seal_packet(struct stgun_thread *thread, struct stgun_session *session, uint32_t size,
		       struct stgun_packet_stamp *stamp, size_t extra)
{
	uint32_t sealed = stgun_sealed_size(thread->stgun->options, size);
	uint8_t *room = stgun_reserve(thread, session, session->id, sealed);
	if (room == NULL)
		return false;
	stamp->number = session->number++;
	stgun_packet_finish(&thread->form, size, session->address, PACKET_PORT, stamp, extra);
	transport_seal_packet(thread->aead, session->key, session->id, WIRE_DATA, thread->form.bytes, size, sealed,
			      room);
	return true;
}

/* A train upwards, or a packet that asks for one downwards. */
static bool fire_unit(struct stgun_thread *thread)
{
	const struct stgun_options *options = thread->stgun->options;
	struct stgun_session *session = next_session(thread);
	if (session == NULL)
		return false;
	uint16_t size = mix_at(&options->mix, thread->pacer.issued);
	bool down = options->direction == STGUN_DOWN;
	uint32_t packets = down ? 1 : thread->order.packets;
	uint16_t own = down ? (uint16_t)stgun_packet_size_least(thread->form.version) : size;
	struct stgun_packet_stamp stamp = {
		.kind = PACKET_DATA,
		.run = thread->order.run,
		.session = stgun_number(thread, session),
		.time = pacer_time(&thread->pacer, thread->pacer.issued, thread->now),
		.answers = (uint8_t)(down				? thread->order.packets
				     : options->direction == STGUN_BOTH ? 1
									: 0),
		.size = size,
	};
	uint32_t sealed_size = stgun_sealed_size(options, own);
	if (!make_room(thread, packets * sealed_size))
		return false;
	send_queue_plan(&thread->queue, thread->sockets[0]->gso, packets, sealed_size);
	if (thread->queue.train_limit > packets)
		thread->queue.train_limit = packets;
	bool sample = options->direction == STGUN_UP && !options->blind && thread->now - thread->sampled >= SAMPLE_NS;
	if (sample) {
		thread->sampled = thread->now;
		stamp.answers = 1;
		stamp.size = (uint16_t)stgun_packet_size_least(thread->form.version);
	}
	uint32_t sealed = 0;
	for (; sealed < packets && stgun_seal_packet(thread, session, own, &stamp, 0); sealed++)
		if (sample)
			stamp.answers = 0;
	if (sealed == 0)
		return false; /* another socket's packets are still in the queue */
	stgun_count(thread, sealed, sealed);
	stgun_count(thread, sent_bytes, (uint64_t)sealed * own);
	thread->pacer.issued++;
	return true;
}

/* As fast as it goes, when answers count: no more than WINDOW units are under way, or all that came of it would be full
 * queues. What is not answered in time is taken for lost. */
static bool window_open(struct stgun_thread *thread)
{
	if (thread->pacer.interval != 0 || thread->stgun->options->direction == STGUN_UP)
		return true;
	uint64_t answers = atomic_load_explicit(&thread->counters[STGUN_COUNT_answers], memory_order_relaxed);
	uint64_t asked = thread->pacer.issued * thread->order.packets;
	if (answers != thread->answers) {
		thread->answers = answers;
		thread->progress = thread->now;
	}
	if (asked < answers + thread->given_up + WINDOW * thread->order.packets)
		return true;
	if (thread->now - thread->progress < PATIENCE_NS)
		return false;
	thread->given_up = asked - answers;
	thread->progress = thread->now;
	return true;
}

bool stgun_fire(struct stgun_thread *thread)
{
	bool worked = false;
	while (thread->queue.used < SEND_QUEUE_FLUSH_BYTES && thread->queue.count < UDP_BATCH) {
		if (pacer_due(&thread->pacer, thread->now, 1) == 0 || !window_open(thread) || !fire_unit(thread))
			break;
		worked = true;
	}
	return worked;
}

void stgun_ask(struct stgun_thread *thread)
{
	uint32_t query = atomic_load_explicit(&thread->stgun->query, memory_order_acquire);
	if (query == thread->asked)
		return;
	uint32_t resume = thread->next;
	struct stgun_session *session = next_session(thread);
	thread->next = resume;
	if (session == NULL)
		return;
	struct stgun_packet_stamp stamp = {
		.kind = PACKET_ASK, .run = thread->order.run, .time = thread->now, .size = 0};
	/* The query's number goes where the packet's would: by way of the session field, which an ASK does not use.
	 */
	stamp.session = query;
	if (stgun_seal_packet(thread, session, (uint32_t)stgun_packet_headers(thread->form.version) + PACKET_TOLD_SIZE,
			      &stamp, 0))
		thread->asked = query;
}
