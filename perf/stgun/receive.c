// SPDX-License-Identifier: Apache-2.0
#include <sys/epoll.h>

#include "core/protocol/messages.h"
#include "perf/stgun/stgun.h"
#include "tun/inner.h"

enum {
	MESSAGES = 8, /* of a system call: fewer stay in the cache */
	OPS = 64,     /* messages of one session, opened together */
	EVENTS = 64,
};

struct batch {
	struct stgun_session *session;
	size_t count;
	struct aead_op ops[OPS];
};

static void take_told(struct stgun_thread *thread, const struct stgun_packet_stamp *stamp, const uint8_t *payload)
{
	struct stgun *stgun = thread->stgun;
	atomic_store_explicit(&stgun->told_packets, load_be64(payload + PACKET_STAMP_SIZE), memory_order_relaxed);
	atomic_store_explicit(&stgun->told_bytes, load_be64(payload + PACKET_STAMP_SIZE + 8), memory_order_relaxed);
	atomic_store_explicit(&stgun->told_overflows, load_be64(payload + PACKET_STAMP_SIZE + 16),
			      memory_order_relaxed);
	atomic_store_explicit(&stgun->told, stamp->session, memory_order_release);
}

static void take_data(struct stgun_thread *thread, const struct stgun_session *session, uint8_t *packet,
		      uint32_t length)
{
	struct inner inner;
	struct stgun_packet_stamp stamp;
	bool padded = thread->stgun->options->wireguard;
	if (!(padded ? inner_parse_padded(&inner, packet, length) : inner_parse(&inner, packet, length)) ||
	    inner.protocol != IPPROTO_UDP || inner.upper_length == 0 ||
	    !stgun_packet_stamp_read(packet + inner.ip_length + UDP_HEADER_LENGTH,
				     inner.length - inner.ip_length - UDP_HEADER_LENGTH, &stamp)) {
		stgun_count(thread, unexpected, 1);
	} else if (stamp.kind == PACKET_TOLD) {
		if (stamp.run == thread->order.run)
			take_told(thread, &stamp, packet + inner.ip_length + UDP_HEADER_LENGTH);
	} else if (stamp.kind == PACKET_ANSWER && stamp.run == thread->order.run &&
		   stamp.session != stgun_number(thread, session)) {
		stgun_count(thread, misdelivered, 1);
	} else if (stamp.kind == PACKET_ANSWER && stamp.run == thread->order.run) {
		histogram_record(&thread->latency, thread->now > stamp.time ? thread->now - stamp.time : 0);
		stgun_count(thread, answers, 1);
		stgun_count(thread, bytes, inner.length);
	} else {
		stgun_count(thread, unexpected, 1);
	}
}

static void take_keepalive(struct stgun_thread *thread, struct stgun_session *session, const struct aead_op *op)
{
	struct wire_probe ping;
	uint8_t pong[WIRE_PROBE_SIZE + AEAD_INPUT_SLACK] = {0};
	if (!wire_probe_read(&ping, op->output, op->length) || ping.kind != WIRE_PING)
		return;
	wire_probe_write(pong, WIRE_PONG, ping.nonce);
	(void)stgun_send_control(thread, session, WIRE_KEEPALIVE, pong, WIRE_PROBE_SIZE);
}

static void take_opened(struct stgun_thread *thread, struct stgun_session *session, struct aead_op *op)
{
	enum wire_type type = (enum wire_type)wire_type(op->header);
	if (session->key == NULL || !op->authentic ||
	    transport_accept(thread->aead, session->key, op) != REPLAY_FRESH) {
		stgun_count(thread, unexpected, 1);
		return;
	}
	if (session->attempt != NULL && session->attempt->ack_end != 0)
		stgun_confirmed(thread, session);
	stgun_heard(session);
	if (type == WIRE_DATA) {
		if (op->length != 0) /* else WireGuard's keepalive */
			take_data(thread, session, op->output, op->length);
	} else if (type == WIRE_BYE) {
		stgun_count(thread, ended, 1);
		stgun_forget(session);
		if (wire_bye_reason(op->output) == WIRE_BYE_RESTARTING)
			stgun_lost(thread, session);
	} else if (type == WIRE_KEEPALIVE) {
		take_keepalive(thread, session, op);
	}
}

static void open_batch(struct stgun_thread *thread, struct batch *batch)
{
	if (batch->count == 0)
		return;
	transport_open(thread->aead, batch->session->key, batch->ops, batch->count);
	for (size_t i = 0; i < batch->count; i++)
		take_opened(thread, batch->session, &batch->ops[i]);
	batch->count = 0;
}

/* For the session, to be opened with others. */
static void collect(struct stgun_thread *thread, struct batch *batch, struct stgun_session *session,
		    const struct message_head *head, uint8_t *message, uint32_t length)
{
	if (batch->session != session || batch->count == OPS)
		open_batch(thread, batch);
	/* What was opened may have ended it. */
	if (session->key == NULL)
		return;
	batch->session = session;
	transport_open_op(&batch->ops[batch->count++], head, message, length);
}

static void take_wireguard(struct stgun_thread *thread, struct batch *batch, uint8_t *message, uint32_t length)
{
	unsigned type = wg_type(message, length);
	if (type == WG_RESPONSE || type == WG_COOKIE_REPLY) {
		open_batch(thread, batch);
		stgun_take_wireguard(thread, message, length);
		return;
	}
	/* Other than at a gateway, an index has no parts. */
	struct stgun_session *session = type == WG_DATA ? stgun_find(thread, wg_receiver(message, WG_DATA)) : NULL;
	if (session == NULL || session->key == NULL) {
		stgun_count(thread, unexpected, 1);
		return;
	}
	struct message_head head;
	wg_head_read(&head, message);
	collect(thread, batch, session, &head, message, length);
}

static void take_datagram(struct stgun_thread *thread, struct batch *batch, uint8_t *message, uint32_t length)
{
	struct wire_verdict verdict = wire_classify(WIRE_SIDE_CLIENT, message, length);
	if (verdict.class == WIRE_CLASS_HANDSHAKE && verdict.reason == DROP_NONE) {
		open_batch(thread, batch);
		stgun_take_handshake(thread, message, length);
		return;
	}
	bool mine = verdict.reason == DROP_NONE && wire_receives(WIRE_SIDE_CLIENT, wire_type(message));
	struct message_head head = {0};
	if (mine)
		wire_head_read(&head, message);
	struct stgun_session *session = mine ? stgun_find(thread, head.session_id) : NULL;
	if (session == NULL || session->key == NULL || session->key->epoch != head.epoch) {
		stgun_count(thread, unexpected, 1);
		return;
	}
	collect(thread, batch, session, &head, message, length);
}

static bool receive_from(struct stgun_thread *thread, struct udp_socket *socket)
{
	int received = socket->ops->receive(socket, thread->messages, MESSAGES);
	if (received <= 0)
		return false;
	thread->now = clock_monotonic(&clock_system);
	bool wireguard = thread->stgun->options->wireguard;
	for (int i = 0; i < received; i++) {
		struct udp_datagrams datagrams = udp_datagrams(&thread->messages[i]);
		struct batch batch;
		batch.session = NULL;
		batch.count = 0;
		while (udp_datagrams_next(&datagrams))
			(wireguard ? take_wireguard : take_datagram)(thread, &batch, datagrams.data, datagrams.length);
		open_batch(thread, &batch);
	}
	return true;
}

bool stgun_receive(struct stgun_thread *thread)
{
	if (thread->epoll_fd < 0)
		return receive_from(thread, thread->sockets[0]);
	struct epoll_event events[EVENTS];
	int ready = epoll_wait(thread->epoll_fd, events, EVENTS, 0);
	bool worked = false;
	for (int i = 0; i < ready; i++)
		worked |= receive_from(thread, events[i].data.ptr);
	return worked;
}
