// SPDX-License-Identifier: Apache-2.0
/* TUN -> UDP, one packet's way from top to bottom:
 *
 *   downlink_batch   takes frames while there are some, from the TUN or from its readers' rings, sends what they became
 *   downlink_frame   session -> key; a super-packet is cut into packets of the session's MTU, and IPv4 that may be
 *                    fragmented is
 *   downlink_packet  reserves room behind the datagram before and seals into it
 *
 * Headers are written in place in front of each payload and the packet is sealed out of place at once, so every byte is
 * read while it is in the first-level cache, and copied nowhere but by the cipher. */
#include "workers/downlink.h"

#include "core/base/hot.h"
#include "tun/ecn.h"
#include "tun/fragment.h"
#include "tun/icmp.h"
#include "tun/mss.h"
#include "tun/segment.h"
#include "workers/frame_stats.h"
#include "workers/worker.h"

enum {
	DOWNLINK_FRAMES = STAGE_KEPT_MAX, /* of a batch: enough small ones to fill a train */
	DOWNLINK_SPARSE = 2048,		  /* all that the kernel lets through in a window (tun/sparse_flows.h) */
	/* The ciphers may read a little past a packet's end. */
	FRAME_SIZE = (TUN_FRAME_MAX + AEAD_INPUT_SLACK + CACHE_LINE - 1) / CACHE_LINE * CACHE_LINE,
};

/* A frame on its way, and what became of it. */
struct outgoing {
	uint8_t ecn;
	bool sparse;		 /* of a flow that sends little, and the peer may handle it ahead of others */
	uint32_t packets, bytes; /* that were sealed */
};

static uint8_t *reserve(struct worker *worker, const struct session *session, const struct outgoing *outgoing,
			uint32_t length)
{
	struct send_queue *queue = &worker->send;
	uint8_t *room = send_queue_reserve(queue, session->id, outgoing->sparse, &session->endpoint, outgoing->ecn,
					   length);
	if (unlikely(room == NULL) && !queue->blocked) {
		send_queue_flush(queue, worker->udp, &worker->loop.stats);
		room = send_queue_reserve(queue, session->id, outgoing->sparse, &session->endpoint, outgoing->ecn,
					  length);
	}
	return room;
}

HOT static enum drop_reason downlink_packet(struct worker *worker, struct session *session,
					    const struct outgoing *outgoing, uint8_t *packet, uint32_t length)
{
	struct transport_key *key = session->current;
	if (unlikely(transport_key_spent(key)))
		return DROP_OUT_LIMIT;
	uint32_t size = transport_sealed_size(key, length, session->mtu);
	if (unlikely(!session_may_send(session, size, WIRE_OVERHEAD + WIRE_PROBE_SIZE)))
		return DROP_OUT_PATH;
	uint8_t *room = reserve(worker, session, outgoing, size);
	if (unlikely(room == NULL))
		return DROP_OUT_SEND;
	stage_lap(&worker->loop.stages, STAGE_SEGMENT);
	enum wire_type type = unlikely(outgoing->sparse) ? WIRE_DATA_SPARSE : WIRE_DATA;
	transport_seal_packet(worker->aead, key, session->id, type, packet, length, size, room);
	stage_lap(&worker->loop.stages, STAGE_SEAL);
	return DROP_NONE;
}

HOT static void mark_sent(struct worker *worker, struct session *session, uint32_t packets, uint32_t bytes)
{
	owner_check(&session->owner, "session");
	session_count(&session->view.tx_packets, packets);
	session_count(&session->view.tx_bytes, bytes);
	session->sent = session->data_moved = worker->now;
	worker_set_timer_before(worker, session, worker->now + session->look_after);
	if (session->path_deadline == 0)
		session->keepalive_owed_since = 0;
	if (session->awaiting_reply_since == 0)
		session->awaiting_reply_since = worker->now;
}

/* Notifies the sender, which then sends smaller packets. The message claims to come from the packet's destination: the
 * kernel would not take one from an address of its own. */
static void answer_too_big(struct worker *worker, const struct inner *packet, uint16_t mtu)
{
	if (worker->icmp_left == 0)
		return;
	worker->icmp_left--;
	uint8_t message[ICMP_FRAME_MAX];
	struct ip_address from;
	inner_destination(packet, &from);
	size_t length = icmp_too_big(packet, mtu, &from, message, sizeof message);
	if (length == 0)
		return;
	struct iovec iov[2] = {{.iov_base = message, .iov_len = VNET_HEADER_SIZE},
			       {.iov_base = message + VNET_HEADER_SIZE, .iov_len = length - VNET_HEADER_SIZE}};
	struct tun_frame frame = {.iov = iov, .iov_count = ARRAY_SIZE(iov), .packets = 1};
	if (worker->tun->ops->write(worker->tun, &frame) == 0)
		stats_add(&worker->loop.stats, tun_tx_icmp, 1);
}

/* The longest packet that segmentation may leave. TCP is cut to fit, whether it may be fragmented or not. */
static uint32_t longest_packet(const struct session *session, const struct inner *packet,
			       const struct virtio_net_hdr *offload)
{
	if (likely(packet->length <= session->mtu) || !packet->may_fragment)
		return session->mtu;
	bool plain = offload->gso_type == VIRTIO_NET_HDR_GSO_NONE || offload->gso_type == VIRTIO_NET_HDR_GSO_UDP_L4;
	return plain ? TUN_PACKET_MAX : session->mtu;
}

/* The frame as read: what its packets become is counted, fragments included. */
static void count_frame(struct worker *worker, const struct segmenter *segmenter, uint32_t ip_length,
			const struct session *session)
{
	uint16_t mtu = session->mtu;
	uint32_t count = segmenter->count, bytes = segmenter->total_bytes;
	if (unlikely(segmenter->packet_length > mtu)) {
		uint32_t all_but_last = count - 1;
		uint32_t last = bytes - all_but_last * segmenter->packet_length;
		count = all_but_last * fragment_count(segmenter->packet_length, ip_length, mtu) +
			fragment_count(last, ip_length, mtu);
		bytes += (count - segmenter->count) * ip_length;
	}
	frame_stats_read(&worker->loop.stats, count, bytes);
	uint32_t longest = segmenter->packet_length < mtu ? segmenter->packet_length : mtu;
	send_queue_plan(&worker->send, worker->udp->gso, count, transport_sealed_size(session->current, longest, mtu));
}

static inline void seal_packet(struct worker *worker, struct session *session, struct outgoing *outgoing,
			       uint8_t *packet, uint32_t length)
{
	enum drop_reason reason = downlink_packet(worker, session, outgoing, packet, length);
	if (unlikely(reason != DROP_NONE))
		stats_drop(&worker->loop.stats, reason, 1);
	else
		outgoing->packets++, outgoing->bytes += length;
}

/* Of a session with limits. */
HOT static void seal_counted(struct worker *worker, struct session *session, struct outgoing *outgoing, uint8_t *packet,
			     uint32_t length)
{
	uint32_t before = outgoing->bytes;
	seal_packet(worker, session, outgoing, packet, length);
	limits_count(session->limits, outgoing->bytes - before);
}

static inline void send_packet(struct worker *worker, struct session *session, struct outgoing *outgoing,
			       uint8_t *packet, uint32_t length)
{
	struct session_limits *limits = session->limits;
	if (likely(limits == NULL))
		seal_packet(worker, session, outgoing, packet, length);
	else if (limits_pass(worker, limits, &limits->down, outgoing->ecn, packet, length))
		seal_counted(worker, session, outgoing, packet, length);
}

static void send_fragments(struct worker *worker, struct session *session, struct outgoing *outgoing, uint8_t ip_length,
			   uint8_t *packet, uint32_t length)
{
	struct fragmenter fragmenter;
	fragment_start(&fragmenter, packet, length, ip_length, session->mtu);
	while (fragment_next(&fragmenter, &packet, &length))
		send_packet(worker, session, outgoing, packet, length);
}

/* Packets of a session with limits may wait in its queue, where what comes later must not overtake them. */
static bool goes_ahead(const struct session *session, bool sparse)
{
	return sparse && (session->current->peer_capabilities & WIRE_TAKES_SPARSE) != 0 && session->limits == NULL;
}

HOT static void downlink_frame(struct worker *worker, uint32_t session_id, const struct inner *packet, bool sparse)
{
	struct session *session = session_id != 0 ? session_table_find(worker->table, session_id) : NULL;
	if (session == NULL) {
		frame_stats_drop(&worker->loop.stats, packet, DROP_OUT_NO_SESSION);
		return;
	}
	if (session->current == NULL) {
		if (worker->role->keyless == NULL || !worker->role->keyless(worker, session, packet))
			frame_stats_drop(&worker->loop.stats, packet, DROP_OUT_NO_KEY);
		return;
	}
	struct virtio_net_hdr offload = frame_offload(packet);
	struct outgoing outgoing = {.ecn = ecn_get(packet), .sparse = goes_ahead(session, sparse)};
	(void)mss_clamp(packet, session->mtu, frame_needs_checksum(&offload));

	struct segmenter segmenter;
	enum segment_status status = segment_start(&segmenter, packet, &offload,
						   longest_packet(session, packet, &offload));
	if (status != SEGMENT_OK) {
		if (status == SEGMENT_TOO_BIG)
			answer_too_big(worker, packet, session->mtu);
		frame_stats_drop(&worker->loop.stats, packet,
				 status == SEGMENT_TOO_BIG ? DROP_OUT_TOO_BIG : DROP_OUT_MALFORMED);
		return;
	}
	count_frame(worker, &segmenter, packet->ip_length, session);
	stage_lap(&worker->loop.stages, STAGE_ROUTE);
	stage_keep(&worker->loop.stages);

	uint8_t *segment;
	uint32_t length;
	while (segment_next(&segmenter, &segment, &length)) {
		if (likely(length <= session->mtu))
			send_packet(worker, session, &outgoing, segment, length);
		else
			send_fragments(worker, session, &outgoing, packet->ip_length, segment, length);
	}
	if (outgoing.packets != 0)
		mark_sent(worker, session, outgoing.packets, outgoing.bytes);
}

void downlink_staged(struct worker *worker, const struct session *session, const struct inner *packet)
{
	downlink_frame(worker, session->id, packet, false);
}

/* Tells the sender of a packet that waited for too long: by a mark, where it understands that. False: the packet is to
 * be dropped, which tells it as well. */
static bool mark_congestion(struct shaper_packet *packet)
{
	struct inner inner;
	if (!inner_parse(&inner, packet->data, packet->length) || !ecn_decapsulate(&inner, ECN_CE))
		return false;
	packet->ecn = ECN_CE;
	return true;
}

size_t downlink_release(struct worker *worker, struct session *session, struct shaper *shaper)
{
	struct outgoing outgoing = {0};
	struct shaper_packet *packet;
	bool congested;
	size_t count = 0;
	for (; !worker->send.blocked && limits_quota_allows(worker, session->limits) &&
	       (packet = shaper_next(shaper, worker->now, &congested)) != NULL;
	     count++) {
		bool passes = !congested || mark_congestion(packet);
		outgoing.ecn = packet->ecn;
		if (!passes)
			stats_drop(&worker->loop.stats, DROP_LIMIT_DOWN, 1);
		else if (session->current == NULL)
			stats_drop(&worker->loop.stats, DROP_OUT_NO_KEY, 1);
		else
			seal_counted(worker, session, &outgoing, packet->data, packet->length);
		shaper_release(shaper, &worker->limits.pool, worker->now, passes);
	}
	if (outgoing.packets != 0)
		mark_sent(worker, session, outgoing.packets, outgoing.bytes);
	return count;
}

static bool room_for_more(const struct worker *worker)
{
	return worker->send.used < SEND_QUEUE_FLUSH_BYTES && !worker->send.blocked;
}

/* A frame that this worker read. The kernel steers by addresses of the pool alone: what goes to a network behind a peer
 * may be another worker's. */
HOT static void take_frame(struct worker *worker, uint8_t *frame, uint32_t length, bool sparse)
{
	struct inner packet;
	if (unlikely(!frame_parse(&packet, frame, length))) {
		frame_stats_malformed(&worker->loop.stats, length);
		return;
	}
	if (sparse)
		frame_stats_sparse(&worker->loop.stats, &packet);
	uint32_t id = worker->role->route(worker, &packet);
	struct frame_dispatch *dispatch = &worker->dispatch;
	if (likely(dispatch->all.pool == NULL || id == 0 || session_shard(dispatch->sharding, id) == worker->index)) {
		downlink_frame(worker, id, &packet, sparse);
		return;
	}
	enum drop_reason reason = frame_dispatch_push(dispatch, &dispatch->all, id, &packet, worker->now);
	if (unlikely(reason != DROP_NONE))
		frame_stats_drop(&worker->loop.stats, &packet, reason);
}

uint8_t *downlink_batch_memory(void)
{
	return aligned_alloc(CACHE_LINE, 2 * FRAME_SIZE + SEND_QUEUE_FLUSH_BYTES / CACHE_LINE * CACHE_LINE);
}

/* 0: none was there. */
HOT static uint32_t read_frame(struct worker *worker, struct tun_queue *queue, uint8_t *frame)
{
	struct iovec iov = {.iov_base = frame, .iov_len = TUN_FRAME_MAX};
	int got = queue->ops->read(queue, &iov, 1);
	if (likely(got > 0)) {
		stage_lap(&worker->loop.stages, STAGE_TUN_READ);
		return (uint32_t)iov.iov_len;
	}
	stats_add(&worker->loop.stats, empty_calls, 1);
	if (got < 0)
		event_loop_fail(&worker->loop, got);
	return 0;
}

static void read_batch(struct worker *worker)
{
	struct tun_batch *batch = &worker->batch;
	uint32_t at = FRAME_SIZE, length = 1;
	batch->next = batch->count = 0;
	batch->began = 0;
	if (!event_loop_may_read(&worker->loop, EVENT_LOOP_TUN))
		return;
	while (batch->count < DOWNLINK_FRAMES && at < FRAME_SIZE + SEND_QUEUE_FLUSH_BYTES) {
		length = read_frame(worker, worker->tun, batch->memory + at);
		if (length == 0)
			break;
		batch->frames[batch->count].at = at;
		batch->frames[batch->count++].length = length;
		at += (length + AEAD_INPUT_SLACK + CACHE_LINE - 1) / CACHE_LINE * CACHE_LINE;
	}
	batch->began = length == 0 ? worker->now : 0;
	batch->last = batch->count != 0 ? worker->now : batch->last;
}

/* Until the queue is empty, or for once too many are there: then the batch waits, so that no flow is reordered. */
static size_t take_sparse(struct worker *worker, bool *empty)
{
	size_t frames = 0;
	for (; frames < DOWNLINK_SPARSE; frames++) {
		stage_skip(&worker->loop.stages);
		stage_arrived(&worker->loop.stages);
		uint32_t length = worker->send.blocked ? 0
						       : read_frame(worker, worker->tun->sparse, worker->batch.memory);
		if (length == 0)
			break;
		take_frame(worker, worker->batch.memory, length, true);
	}
	if (frames != 0)
		worker->went_ahead = worker->now;
	*empty = frames < DOWNLINK_SPARSE && !worker->send.blocked;
	return frames;
}

/* The next of the batch. */
HOT static void take_next(struct worker *worker)
{
	struct tun_batch *batch = &worker->batch;
	uint8_t *frame = batch->memory + batch->frames[batch->next].at;
	uint32_t length = batch->frames[batch->next].length;
	batch->next++;
	destination_shares_took(worker->tun->shares, &batch->tally, frame, length);
	take_frame(worker, frame, length, false);
}

/* Tells the kernel what is out of the queue, and whether that is empty. */
HOT static void account(struct worker *worker)
{
	struct tun_batch *batch = &worker->batch;
	bool drained = batch->next == batch->count && batch->began != 0;
	if (batch->tally.queue != NULL)
		queue_shares_publish(&batch->tally, drained ? batch->began : worker->now, drained);
	if (worker->tun->sparse != NULL && drained)
		sparse_queue_drained(worker->tun->shared, batch->began);
}

HOT bool downlink_unsettled(const struct worker *worker)
{
	const struct tun_queue *tun = worker->tun;
	return queue_shares_uneven(&worker->batch.tally) ||
	       (worker->reads_tun && tun->sparse != NULL &&
		worker->batch.last > atomic_load_explicit(&tun->shared->drained, memory_order_relaxed));
}

/* Straight from the TUN: a batch is read first, what there is of sparse flows is handled then, and the batch last. */
static size_t take_from_tun(struct worker *worker)
{
	struct tun_batch *batch = &worker->batch;
	struct tun_queue *tun = worker->tun;
	size_t frames = 0;
	bool may_send = true;
	if (batch->next == batch->count)
		read_batch(worker);
	/* In front of a batch always: what is in it may have come after something that is in the second queue by now.
	 */
	if (tun->sparse != NULL && (batch->count != 0 || event_loop_may_read(&worker->loop, EVENT_LOOP_TUN_SPARSE)))
		frames = take_sparse(worker, &may_send);
	stage_arrived_first(&worker->loop.stages);
	for (; may_send && batch->next < batch->count && !worker->send.blocked; frames++)
		take_next(worker);
	account(worker);
	if (worker->dispatch.all.pool != NULL)
		frame_dispatch_publish(&worker->dispatch, &worker->dispatch.all, &worker->loop.stats);
	return frames;
}

/* The ring is the only queue that stands: when packets wait in it for long, some are dropped so that senders slow
 * down. */
static bool waited_too_long(struct worker *worker, struct worker_source *source, const struct frame_ref *ref)
{
	uint64_t waited = codel_sojourn(ref->stamp, worker->now);
	stage_arrived_at(&worker->loop.stages, STAGE_RING_WAIT, ref->stamp);
	return codel_drop(&source->codel, waited, worker->now, frame_ring_behind(source->ring, ref));
}

/* All that belongs to sparse flows. False: the send queue was full before. */
static bool take_sparse_ring(struct worker *worker, struct frame_ring *ring, size_t *frames)
{
	const struct frame_ref *ref;
	for (; room_for_more(worker); (*frames)++) {
		if (frame_ring_peek(ring, &ref, 1) == 0)
			return true;
		struct inner packet = ref->packet;
		stage_arrived_at(&worker->loop.stages, STAGE_RING_WAIT, ref->stamp);
		downlink_frame(worker, ref->session_id, &packet, true);
		frame_ring_release(ring, 1);
		worker->went_ahead = worker->now;
	}
	return false;
}

/* From the rings of a TUN reader, or the ring of another worker. What is in the ring is looked at first: only that may
 * be handled, once all is that came before it by way of the other. */
static size_t take_from_ring(struct worker *worker, struct worker_source *source)
{
	const struct frame_ref *refs;
	size_t frames = 0, ready = frame_ring_peek(source->ring, &refs, DOWNLINK_FRAMES);
	if (source->sparse != NULL && !take_sparse_ring(worker, source->sparse, &frames))
		ready = 0;
	for (size_t i = 0; i < ready && room_for_more(worker); i++, frames++) {
		/* Copied once: the reader writes to the next entry, which is on the same line. */
		struct inner packet = refs[i].packet;
		if (waited_too_long(worker, source, &refs[i]))
			frame_stats_drop(&worker->loop.stats, &packet, DROP_OUT_QUEUE);
		else
			downlink_frame(worker, refs[i].session_id, &packet, false);
		frame_ring_release(source->ring, 1);
	}
	if (frames != 0)
		worker->fed = worker->now;
	return frames;
}

static size_t take_frames(struct worker *worker)
{
	/* Each of them, the worker's own queue included, is the first in turn: a batch may be full before it comes to
	 * the last. */
	size_t frames = 0, count = worker->source_count + (worker->reads_tun ? 1 : 0);
	for (size_t i = 0; i < count; i++) {
		size_t source = (worker->first_source + i) % count;
		frames += source == worker->source_count ? take_from_tun(worker)
							 : take_from_ring(worker, &worker->sources[source]);
	}
	worker->first_source++;
	return frames;
}

HOT size_t downlink_batch(struct worker *worker)
{
	owner_check(&worker->loop.owner, "frame buffer");
	if (worker->send.blocked)
		return 0; /* the turn's last flush tries again; what waits in the TUN keeps its order */
	if (worker->batch.next == worker->batch.count && worker->source_count == 0 &&
	    !event_loop_may_read(&worker->loop, EVENT_LOOP_TUN | EVENT_LOOP_TUN_SPARSE))
		return 0;

	stage_begin(&worker->loop.stages);
	stage_tie(&worker->loop.stages, worker->clock);
	size_t frames = take_frames(worker);
	if (frames == 0) {
		stage_cancel(&worker->loop.stages);
		return 0;
	}
	stage_skip(&worker->loop.stages);
	send_queue_flush(&worker->send, worker->udp, &worker->loop.stats);
	stage_lap(&worker->loop.stages, STAGE_UDP_SEND);
	stage_end_kept(&worker->loop.stages, STAGE_RESIDENCE_DOWN);
	return frames;
}

size_t downlink_finish_batch(struct worker *worker)
{
	const struct tun_batch *batch = &worker->batch;
	size_t frames = 0;
	for (; batch->next < batch->count && room_for_more(worker); frames++)
		take_next(worker);
	if (frames == 0)
		return 0;
	account(worker);
	if (worker->dispatch.all.pool != NULL)
		frame_dispatch_publish(&worker->dispatch, &worker->dispatch.all, &worker->loop.stats);
	return frames;
}
