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

#include "tun/ecn.h"
#include "tun/fragment.h"
#include "tun/icmp.h"
#include "tun/mss.h"
#include "tun/segment.h"
#include "workers/worker.h"

enum { DOWNLINK_FRAMES = STAGE_KEPT_MAX /* of a batch: enough small ones to fill a train */ };

static uint8_t *reserve(struct worker *worker, const struct session *session, uint8_t ecn, uint32_t length)
{
	struct send_queue *queue = &worker->send;
	uint8_t *room = send_queue_reserve(queue, session->id, &session->endpoint, ecn, length);
	if (unlikely(room == NULL) && !queue->blocked) {
		send_queue_flush(queue, worker->udp, &worker->stats);
		room = send_queue_reserve(queue, session->id, &session->endpoint, ecn, length);
	}
	return room;
}

static enum drop_reason downlink_packet(struct worker *worker, struct session *session, uint8_t ecn,
					const uint8_t *packet, uint32_t length)
{
	struct transport_key *key = session->current;
	if (unlikely(transport_key_spent(key)))
		return DROP_OUT_LIMIT;
	if (unlikely(!session_may_send(session, WIRE_OVERHEAD + length, WIRE_OVERHEAD + WIRE_PROBE_SIZE)))
		return DROP_OUT_PATH;
	uint8_t *room = reserve(worker, session, ecn, WIRE_OVERHEAD + length);
	if (unlikely(room == NULL))
		return DROP_OUT_SEND;
	stage_lap(&worker->stages, STAGE_SEGMENT);
	transport_seal(worker->aead, key, session->id, WIRE_DATA, packet, length, room);
	stage_lap(&worker->stages, STAGE_SEAL);
	return DROP_NONE;
}

static void mark_sent(struct worker *worker, struct session *session, uint32_t packets, uint32_t bytes)
{
	owner_check(&session->owner, "session");
	session_count(&session->view.tx_packets, packets);
	session_count(&session->view.tx_bytes, bytes);
	session->sent = session->data_moved = worker->now;
	worker_set_timer_before(worker, session, worker->now + SESSION_HIBERNATE_NS);
	if (session->path_deadline == 0)
		session->unreplied = 0;
	if (session->unanswered == 0)
		session->unanswered = worker->now;
}

static void drop_frame(struct worker *worker, uint8_t *frame, uint32_t length, enum drop_reason reason)
{
	downlink_drop(&worker->stats, frame, length, reason);
}

/* Tells the sender, who then sends smaller packets. The message claims to come from the packet's destination: the
 * kernel would not take one from an address of its own. */
static void answer_too_big(struct worker *worker, const struct inner *inner, uint16_t mtu)
{
	if (worker->icmp_left == 0)
		return;
	worker->icmp_left--;
	uint8_t message[ICMP_FRAME_MAX];
	struct ip_address from;
	inner_destination(inner, &from);
	size_t length = icmp_too_big(inner, mtu, &from, message, sizeof message);
	if (length == 0)
		return;
	struct iovec iov[2] = {{.iov_base = message, .iov_len = VNET_HEADER_SIZE},
			       {.iov_base = message + VNET_HEADER_SIZE, .iov_len = length - VNET_HEADER_SIZE}};
	struct tun_frame frame = {.iov = iov, .iov_count = ARRAY_SIZE(iov), .packets = 1};
	if (worker->tun->ops->write(worker->tun, &frame) == 0)
		stats_add(&worker->stats, tun_tx_icmp, 1);
}

/* The longest packet that segmentation may leave. TCP is cut to fit, whether it may be fragmented or not. */
static uint32_t longest_packet(const struct session *session, const struct inner *inner, const uint8_t *frame)
{
	if (likely(inner->length <= session->mtu) || !fragment_allowed(inner))
		return session->mtu;
	struct virtio_net_hdr header;
	memcpy(&header, frame, sizeof header);
	bool plain = header.gso_type == VIRTIO_NET_HDR_GSO_NONE || header.gso_type == VIRTIO_NET_HDR_GSO_UDP_L4;
	return plain ? TUN_PACKET_MAX : session->mtu;
}

/* The frame as read: what its packets become is counted, fragments included. */
static void count_frame(struct worker *worker, const struct segmenter *segmenter, uint16_t mtu)
{
	uint32_t count = segmenter->count, bytes = segmenter->total_bytes;
	if (unlikely(segmenter->packet_length > mtu)) {
		uint32_t header = segmenter->inner.ip_length, all_but_last = count - 1;
		uint32_t last = bytes - all_but_last * segmenter->packet_length;
		count = all_but_last * fragment_count(segmenter->packet_length, header, mtu) +
			fragment_count(last, header, mtu);
		bytes += (count - segmenter->count) * header;
	}
	downlink_count(&worker->stats, count, bytes);
	uint32_t longest = segmenter->packet_length < mtu ? segmenter->packet_length : mtu;
	send_queue_plan(&worker->send, worker->udp->gso, count, WIRE_OVERHEAD + longest);
}

static bool needs_checksum(const uint8_t *frame)
{
	struct virtio_net_hdr header;
	memcpy(&header, frame, sizeof header);
	return (header.flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) != 0;
}

/* What became of a frame. */
struct sent {
	uint32_t packets, bytes;
};

static inline void send_packet(struct worker *worker, struct session *session, uint8_t ecn, const uint8_t *packet,
			       uint32_t length, struct sent *sent)
{
	enum drop_reason reason = downlink_packet(worker, session, ecn, packet, length);
	if (unlikely(reason != DROP_NONE))
		stats_drop(&worker->stats, reason, 1);
	else
		sent->packets++, sent->bytes += length;
}

static void send_fragments(struct worker *worker, struct session *session, uint8_t ecn, uint8_t *packet,
			   uint32_t length, struct sent *sent)
{
	struct fragmenter fragmenter;
	fragment_start(&fragmenter, packet, length, session->mtu);
	while (fragment_next(&fragmenter, &packet, &length))
		send_packet(worker, session, ecn, packet, length, sent);
}

static void downlink_frame(struct worker *worker, uint32_t session_id, struct inner *inner, uint8_t *frame,
			   uint32_t length)
{
	struct session *session = session_id != 0 ? session_table_find(worker->table, session_id) : NULL;
	if (session == NULL) {
		drop_frame(worker, frame, length, DROP_OUT_NO_SESSION);
		return;
	}
	if (session->current == NULL) {
		drop_frame(worker, frame, length, DROP_OUT_NO_KEY);
		return;
	}
	uint8_t ecn = ecn_get(inner);
	(void)mss_clamp(inner, session->mtu, needs_checksum(frame));

	struct segmenter segmenter;
	enum segment_status status = segment_start(&segmenter, frame, length, longest_packet(session, inner, frame));
	if (status != SEGMENT_OK) {
		if (status == SEGMENT_TOO_BIG)
			answer_too_big(worker, inner, session->mtu);
		drop_frame(worker, frame, length, status == SEGMENT_TOO_BIG ? DROP_OUT_TOO_BIG : DROP_OUT_MALFORMED);
		return;
	}
	count_frame(worker, &segmenter, session->mtu);
	stage_lap(&worker->stages, STAGE_ROUTE);
	stage_keep(&worker->stages);

	struct sent sent = {0};
	uint8_t *packet;
	uint32_t packet_length;
	while (segment_next(&segmenter, &packet, &packet_length)) {
		if (likely(packet_length <= session->mtu))
			send_packet(worker, session, ecn, packet, packet_length, &sent);
		else
			send_fragments(worker, session, ecn, packet, packet_length, &sent);
	}
	if (sent.packets != 0)
		mark_sent(worker, session, sent.packets, sent.bytes);
}

static bool room_for_more(const struct worker *worker)
{
	return worker->send.used < SEND_QUEUE_FLUSH_BYTES && !worker->send.blocked;
}

/* Straight from the TUN. */
static size_t take_from_tun(struct worker *worker)
{
	size_t frames = 0;
	for (; frames < DOWNLINK_FRAMES && room_for_more(worker); frames++) {
		struct iovec iov = {.iov_base = worker->frame, .iov_len = TUN_FRAME_MAX};
		int got = worker->tun->ops->read(worker->tun, &iov, 1);
		if (got <= 0) {
			stats_add(&worker->stats, empty_calls, 1);
			if (got < 0)
				atomic_store_explicit(&worker->tun_error, got, memory_order_relaxed);
			break;
		}
		stage_arrived(&worker->stages);
		stage_lap(&worker->stages, STAGE_TUN_READ);
		uint32_t length = (uint32_t)iov.iov_len;
		struct inner inner;
		if (downlink_parse(&inner, worker->frame, length))
			downlink_frame(worker, worker->role->route(worker, &inner), &inner, worker->frame, length);
		else
			drop_frame(worker, worker->frame, length, DROP_OUT_MALFORMED);
	}
	return frames;
}

/* The ring is the only queue that stands: when packets wait in it for long, some are dropped so that senders slow
 * down. */
static bool waited_too_long(struct worker *worker, struct worker_source *source, const struct frame_ref *ref)
{
	uint64_t waited = codel_sojourn(ref->stamp, worker->now);
	stage_arrived_at(&worker->stages, STAGE_RING_WAIT, ref->stamp);
	return codel_drop(&source->codel, waited, worker->now, frame_ring_behind(source->ring, ref));
}

/* What a TUN reader put into its ring for us. */
static size_t take_from_reader(struct worker *worker, struct worker_source *source)
{
	size_t frames = 0;
	const struct frame_ref *ref;
	for (; frames < DOWNLINK_FRAMES && room_for_more(worker) && frame_ring_peek(source->ring, &ref, 1) != 0;
	     frames++) {
		struct inner inner;
		if (waited_too_long(worker, source, ref))
			drop_frame(worker, ref->data, ref->length, DROP_OUT_QUEUE);
		else if (!downlink_parse(&inner, ref->data, ref->length))
			drop_frame(worker, ref->data, ref->length, DROP_OUT_MALFORMED);
		else
			downlink_frame(worker, ref->session_id, &inner, ref->data, ref->length);
		frame_ring_release(source->ring, 1);
	}
	if (frames != 0)
		worker->fed = worker->now;
	return frames;
}

static size_t take_frames(struct worker *worker)
{
	if (worker->source_count == 0)
		return take_from_tun(worker);
	/* Each of them is the first in turn: a batch may be full before it comes to the last. */
	size_t frames = 0;
	for (size_t i = 0; i < worker->source_count; i++)
		frames += take_from_reader(worker, &worker->sources[(worker->first_source + i) % worker->source_count]);
	worker->first_source++;
	return frames;
}

size_t downlink_batch(struct worker *worker)
{
	owner_check(&worker->owner, "frame buffer");
	if (worker->send.blocked)
		return 0; /* the turn's last flush tries again; what waits in the TUN keeps its order */

	stage_begin(&worker->stages);
	stage_tie(&worker->stages, worker->clock);
	size_t frames = take_frames(worker);
	if (frames == 0) {
		stage_cancel(&worker->stages);
		return 0;
	}
	stage_skip(&worker->stages);
	send_queue_flush(&worker->send, worker->udp, &worker->stats);
	stage_lap(&worker->stages, STAGE_UDP_SEND);
	stage_end_kept(&worker->stages, STAGE_RESIDENCE_DOWN);
	return frames;
}
