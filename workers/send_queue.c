// SPDX-License-Identifier: Apache-2.0
#include "workers/send_queue.h"

#include <stdlib.h>

#include "core/base/hot.h"
#include "core/base/log.h"

int send_queue_init(struct send_queue *queue)
{
	*queue = (struct send_queue){.train_limit = UDP_TRAIN_SEGMENTS};
	queue->buffer = aligned_alloc(CACHE_LINE, SEND_QUEUE_BYTES);
	return queue->buffer != NULL ? 0 : -ENOMEM;
}

void send_queue_deinit(struct send_queue *queue)
{
	free(queue->buffer);
	queue->buffer = NULL;
}

HOT void send_queue_plan(struct send_queue *queue, bool gso, uint32_t count, uint32_t size)
{
	owner_check(&queue->owner, "send queue");
	uint32_t limit = 1;
	if (gso) {
		uint32_t most = UDP_TRAIN_BYTES / size;
		most = most > UDP_TRAIN_SEGMENTS ? UDP_TRAIN_SEGMENTS : most == 0 ? 1 : most;
		uint32_t trains = (count + most - 1) / most;
		/* A lone packet may join what is open; a super-packet that needs several trains gets near-equal ones.
		 */
		limit = trains > 1 ? (count + trains - 1) / trains : most;
	}
	queue->train_limit = limit;
}

static bool fits_last(const struct send_queue *queue, uint32_t session_id, bool sparse, const struct endpoint *to,
		      uint8_t ecn, uint32_t length)
{
	if (queue->open_session != session_id || queue->open_sparse != sparse || session_id == 0 || queue->count == 0)
		return false;
	const struct udp_message *last = &queue->trains[queue->count - 1];
	return queue->datagrams[queue->count - 1] < queue->train_limit && length <= last->segment_size &&
	       last->length + length <= UDP_TRAIN_BYTES && last->ecn == ecn && endpoint_equal(&last->endpoint, to);
}

HOT uint8_t *send_queue_reserve(struct send_queue *queue, uint32_t session_id, bool sparse, const struct endpoint *to,
				uint8_t ecn, uint32_t length)
{
	owner_check(&queue->owner, "send queue");
	if (queue->used + length > SEND_QUEUE_BYTES)
		return NULL;
	if (!fits_last(queue, session_id, sparse, to, ecn, length)) {
		if (queue->count == SEND_QUEUE_TRAINS)
			return NULL;
		uint32_t index = queue->count++;
		queue->trains[index] = (struct udp_message){.data = queue->buffer + queue->used,
							    .segment_size = (uint16_t)length,
							    .ecn = ecn,
							    .endpoint = *to};
		queue->datagrams[index] = 0;
		queue->data[index] = session_id != 0;
		queue->open_session = session_id;
		queue->open_sparse = sparse;
	}

	uint32_t index = queue->count - 1;
	struct udp_message *train = &queue->trains[index];
	if (length < train->segment_size)
		queue->open_session = 0; /* only the last datagram of a train may be shorter */
	train->length += length;
	queue->datagrams[index]++;

	uint8_t *room = queue->buffer + queue->used;
	queue->used += length;
	return room;
}

static void count_sent(struct stats *stats, uint32_t bytes, uint32_t datagrams, bool data)
{
	stats_add(stats, udp_tx_packets, datagrams);
	stats_add(stats, udp_tx_bytes, bytes);
	if (data)
		stats_add(stats, udp_tx_data, datagrams);
	else
		stats_add(stats, udp_tx_control, datagrams);
}

/* Sends the first train's datagrams one by one, as they were sealed. False when the socket would block: the rest
 * stays. */
static bool send_singly(struct send_queue *queue, struct udp_socket *socket, struct stats *stats)
{
	const struct udp_message *train = &queue->trains[queue->sent];
	bool data = queue->data[queue->sent];
	uint32_t step = train->segment_size;
	for (; queue->singly_at < train->length; queue->singly_at += step) {
		uint32_t left = train->length - queue->singly_at;
		struct udp_message single = *train;
		single.data = train->data + queue->singly_at;
		single.length = left < step ? left : step;
		single.segment_size = 0;
		int taken = socket->ops->send(socket, &single, 1);
		stats_add(stats, udp_tx_calls, 1);
		if (taken == -EAGAIN)
			return false;
		if (taken == 1)
			count_sent(stats, single.length, 1, data);
		else if (data)
			stats_drop(stats, DROP_OUT_SEND, 1);
	}
	queue->singly = false;
	queue->sent++;
	return true;
}

/* What was offered to the kernel is not changed any more. */
static void block(struct send_queue *queue, struct udp_socket *socket)
{
	socket->full = queue->blocked = true;
	queue->open_session = 0;
}

static void forget(struct send_queue *queue)
{
	queue->used = queue->count = queue->sent = queue->open_session = 0;
	queue->blocked = false;
}

HOT void send_queue_flush(struct send_queue *queue, struct udp_socket *socket, struct stats *stats)
{
	owner_check(&queue->owner, "send queue");
	queue->blocked = false;
	while (queue->sent < queue->count) {
		if (queue->singly) {
			if (!send_singly(queue, socket, stats))
				return block(queue, socket);
			continue;
		}
		uint32_t first = queue->sent, left = queue->count - first;
		int taken = socket->ops->send(socket, &queue->trains[first], left < UDP_BATCH ? left : UDP_BATCH);
		stats_add(stats, udp_tx_calls, 1);
		if (taken > 0) {
			for (uint32_t i = first; i < first + (uint32_t)taken; i++)
				count_sent(stats, queue->trains[i].length, queue->datagrams[i], queue->data[i]);
			queue->sent += (uint32_t)taken;
			continue;
		}
		if (taken == -EAGAIN)
			return block(queue, socket);
		/* Too long for the path as a train: EMSGSIZE, before Linux 6.14 EINVAL. No checksum offload there: EIO,
		 * each time. */
		bool refused = taken == -EMSGSIZE || taken == -EINVAL || taken == -EIO;
		if (refused && queue->datagrams[first] > 1) {
			if (taken == -EIO) {
				socket->gso = false;
				log_warning(
					"UDP segmentation offload: the device refuses it; datagrams go one by one now");
			}
			stats_add(stats, udp_tx_fallback, 1);
			queue->singly = true;
			queue->singly_at = 0;
			continue;
		}
		if (queue->data[first])
			stats_drop(stats, DROP_OUT_SEND, queue->datagrams[first]);
		queue->sent++;
	}
	forget(queue);
}

void send_queue_discard(struct send_queue *queue, struct stats *stats)
{
	owner_check(&queue->owner, "send queue");
	for (; queue->sent < queue->count; queue->sent++) {
		const struct udp_message *train = &queue->trains[queue->sent];
		uint32_t gone = queue->singly ? queue->singly_at / train->segment_size : 0;
		if (queue->data[queue->sent])
			stats_drop(stats, DROP_OUT_SEND, queue->datagrams[queue->sent] - gone);
		queue->singly = false;
	}
	forget(queue);
}
