// SPDX-License-Identifier: Apache-2.0
/* TUN -> UDP, one packet's way from top to bottom:
 *
 *   downlink_batch   reads frames while there are some, sends what they became
 *   downlink_frame   destination -> session -> key; a super-packet is cut into packets of the session's MTU
 *   downlink_packet  reserves room behind the datagram before and seals into it
 *
 * Headers are written in place in front of each payload and the packet is sealed out of place at once, so every byte is
 * read while it is in the first-level cache, and copied nowhere but by the cipher. */
#include "tun/ecn.h"
#include "tun/icmp.h"
#include "tun/mss.h"
#include "tun/segment.h"
#include "workers/worker.h"

enum { DOWNLINK_FRAMES = 64 /* of a batch: enough small ones to fill a train */ };

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

static void mark_sent(struct worker *worker, struct session *session)
{
	session->sent = session->data_moved = worker->now;
	if (session->path_deadline == 0)
		session->unreplied = 0;
	if (session->unanswered == 0)
		session->unanswered = worker->now;
}

/* How many packets a frame stands for, when it has to be counted without a session to cut it for. */
static uint32_t frame_packets(uint8_t *frame, uint32_t length)
{
	struct segmenter segmenter;
	return segment_start(&segmenter, frame, length, TUN_PACKET_MAX) == SEGMENT_OK ? segmenter.count : 1;
}

static void count_read(struct worker *worker, uint32_t packets, uint32_t bytes)
{
	stats_add(&worker->stats, tun_rx_frames, 1);
	stats_add(&worker->stats, tun_rx_packets, packets);
	stats_add(&worker->stats, tun_rx_bytes, bytes);
}

static void drop_frame(struct worker *worker, uint8_t *frame, uint32_t length, enum drop_reason reason)
{
	uint32_t packets = frame_packets(frame, length);
	count_read(worker, packets, length > VNET_HEADER_SIZE ? length - VNET_HEADER_SIZE : 0);
	stats_drop(&worker->stats, reason, packets);
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

static bool needs_checksum(const uint8_t *frame)
{
	struct virtio_net_hdr header;
	memcpy(&header, frame, sizeof header);
	return (header.flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) != 0;
}

static void downlink_frame(struct worker *worker, uint8_t *frame, uint32_t length)
{
	struct inner inner;
	if (length < VNET_HEADER_SIZE || !inner_parse(&inner, frame + VNET_HEADER_SIZE, length - VNET_HEADER_SIZE)) {
		drop_frame(worker, frame, length, DROP_OUT_MALFORMED);
		return;
	}
	struct session *session = worker->role->route(worker, &inner);
	if (session == NULL) {
		drop_frame(worker, frame, length, DROP_OUT_NO_SESSION);
		return;
	}
	if (session->current == NULL) {
		drop_frame(worker, frame, length, DROP_OUT_NO_KEY);
		return;
	}
	uint8_t ecn = ecn_get(&inner);
	(void)mss_clamp(&inner, session->mtu, needs_checksum(frame));

	struct segmenter segmenter;
	enum segment_status status = segment_start(&segmenter, frame, length, session->mtu);
	if (status != SEGMENT_OK) {
		if (status == SEGMENT_TOO_BIG)
			answer_too_big(worker, &inner, session->mtu);
		drop_frame(worker, frame, length, status == SEGMENT_TOO_BIG ? DROP_OUT_TOO_BIG : DROP_OUT_MALFORMED);
		return;
	}
	count_read(worker, segmenter.count, segmenter.total_bytes);
	send_queue_plan(&worker->send, worker->udp->gso, segmenter.count, WIRE_OVERHEAD + segmenter.packet_length);
	stage_lap(&worker->stages, STAGE_ROUTE);

	uint8_t *packet;
	uint32_t packet_length;
	bool sealed = false;
	while (segment_next(&segmenter, &packet, &packet_length)) {
		enum drop_reason reason = downlink_packet(worker, session, ecn, packet, packet_length);
		if (unlikely(reason != DROP_NONE))
			stats_drop(&worker->stats, reason, 1);
		else
			sealed = true;
	}
	if (sealed)
		mark_sent(worker, session);
}

size_t downlink_batch(struct worker *worker)
{
	if (worker->send.blocked)
		return 0; /* the turn's last flush tries again; what waits in the TUN keeps its order */

	size_t frames = 0;
	stage_begin(&worker->stages);
	while (frames < DOWNLINK_FRAMES && worker->send.used < SEND_QUEUE_FLUSH_BYTES && !worker->send.blocked) {
		struct iovec iov = {.iov_base = worker->frame, .iov_len = TUN_FRAME_MAX};
		int got = worker->tun->ops->read(worker->tun, &iov, 1);
		if (got <= 0) {
			if (got < 0)
				atomic_store_explicit(&worker->tun_error, got, memory_order_relaxed);
			break;
		}
		stage_lap(&worker->stages, STAGE_TUN_READ);
		downlink_frame(worker, worker->frame, (uint32_t)iov.iov_len);
		frames++;
	}
	if (frames == 0) {
		stage_cancel(&worker->stages);
		return 0;
	}
	stage_skip(&worker->stages);
	send_queue_flush(&worker->send, worker->udp, &worker->stats);
	stage_lap(&worker->stages, STAGE_UDP_SEND);
	stage_end(&worker->stages, STAGE_RESIDENCE_DOWN);
	return frames;
}
