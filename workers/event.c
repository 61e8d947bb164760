// SPDX-License-Identifier: Apache-2.0
#include "workers/event.h"

#include <stdio.h>
#include <stdlib.h>

#include "core/sessions/peer.h"

static const struct {
	const char *text;
	uint32_t rate, burst;
} kinds[EVENT_KIND_COUNT] = {
#define X(name, text, rate, burst) [EVENT_##name] = {text, rate, burst},
	EVENT_KINDS(X)
#undef X
};

const char *event_kind_text(enum event_kind kind)
{
	return kinds[kind].text;
}

int event_queue_init(struct event_queue *queue)
{
	cds_wfcq_init(&queue->head, &queue->tail);
	int result = waker_init(&queue->waker);
	if (result == 0)
		waker_prepare(&queue->waker);
	return result;
}

static struct event *dequeue(struct event_queue *queue)
{
	struct cds_wfcq_node *node = __cds_wfcq_dequeue_blocking(&queue->head, &queue->tail);
	if (node == NULL)
		return NULL;
	rcu_tsan_acquire();
	return caa_container_of(node, struct event, node);
}

struct event *event_take(struct event_queue *queue)
{
	struct event *event = dequeue(queue);
	if (event != NULL)
		return event;
	waker_done(&queue->waker, true);
	waker_prepare(&queue->waker);
	return dequeue(queue); /* that came before the flag was up */
}

void event_queue_deinit(struct event_queue *queue)
{
	for (struct event *event; (event = dequeue(queue)) != NULL;)
		free(event);
	cds_wfcq_destroy(&queue->head, &queue->tail);
	waker_deinit(&queue->waker);
}

void event_source_init(struct event_source *source, struct event_queue *queue, unsigned share)
{
	*source = (struct event_source){.queue = queue};
	for (size_t kind = 0; kind < EVENT_KIND_COUNT; kind++) {
		uint32_t burst = (kinds[kind].burst + share - 1) / share;
		struct token_rate rate = {.interval = share * NS_PER_S / kinds[kind].rate};
		rate.tolerance = (burst - 1) * rate.interval;
		source->buckets[kind].rate = rate;
	}
}

static void suppress(struct event_source *source, enum event_kind kind)
{
	_Atomic uint64_t *count = &source->suppressed[kind];
	atomic_store_explicit(count, atomic_load_explicit(count, memory_order_relaxed) + 1, memory_order_relaxed);
}

struct event *event_new(struct event_source *source, enum event_kind kind, uint64_t now)
{
	if (source->queue == NULL)
		return NULL;
	struct event *event = NULL;
	if (token_bucket_take(&source->buckets[kind], now))
		event = calloc(1, sizeof *event);
	if (event == NULL)
		suppress(source, kind);
	else
		event->kind = kind;
	return event;
}

void event_note_protocol(struct event *event, const struct peer *peer)
{
	enum peer_protocol protocol = peer_protocol(peer);
	event->protocol = protocol != PEER_SHARDTUN ? peer_protocol_name(protocol) : NULL;
}

struct event *event_new_of(struct event_source *source, enum event_kind kind, const struct session *session,
			   uint64_t now)
{
	struct event *event = event_new(source, kind, now);
	if (event == NULL)
		return NULL;
	event->session_id = session->id;
	const char *name = peer_name(session->peer);
	memcpy(event->peer, session->peer->public_key, sizeof event->peer);
	(void)snprintf(event->name, sizeof event->name, "%s", name != NULL ? name : "");
	event_note_protocol(event, session->peer);
	event->endpoint = session->endpoint.remote;
	event->address4 = session->inner4.address;
	event->address6 = session->inner6.address;
	return event;
}

void event_post(struct event_source *source, struct event *event)
{
	struct event_queue *queue = source->queue;
	cds_wfcq_node_init(&event->node);
	rcu_tsan_release();
	(void)cds_wfcq_enqueue(&queue->head, &queue->tail, &event->node);
	(void)waker_wake(&queue->waker);
}
