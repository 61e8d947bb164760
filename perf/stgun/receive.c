// SPDX-License-Identifier: Apache-2.0
#include <sys/epoll.h>

#include "perf/stgun/stgun.h"
#include "tun/inner.h"

enum {
	MESSAGES = 8, /* of a system call: fewer stay in the cache */
	OPS = 64,     /* messages of one session, opened together */
	EVENTS = 64,
};

struct batch {
	struct gun_session *session;
	size_t count;
	struct aead_op ops[OPS];
};

static void take_told(struct gun_thread *thread, const struct gun_packet_stamp *stamp, const uint8_t *payload)
{
	struct gun *gun = thread->gun;
	atomic_store_explicit(&gun->told_packets, load_be64(payload + PACKET_STAMP_SIZE), memory_order_relaxed);
	atomic_store_explicit(&gun->told_bytes, load_be64(payload + PACKET_STAMP_SIZE + 8), memory_order_relaxed);
	atomic_store_explicit(&gun->told_overflows, load_be64(payload + PACKET_STAMP_SIZE + 16), memory_order_relaxed);
	atomic_store_explicit(&gun->told, stamp->session, memory_order_release);
}

static void take_data(struct gun_thread *thread, uint8_t *packet, uint32_t length)
{
	struct inner inner;
	struct gun_packet_stamp stamp;
	if (!inner_parse(&inner, packet, length) || inner.protocol != IPPROTO_UDP || inner.upper_length == 0 ||
	    !gun_packet_stamp_read(packet + inner.ip_length + UDP_HEADER_LENGTH,
				   length - inner.ip_length - UDP_HEADER_LENGTH, &stamp)) {
		gun_count(thread, unexpected, 1);
	} else if (stamp.kind == PACKET_TOLD) {
		if (stamp.run == thread->order.run)
			take_told(thread, &stamp, packet + inner.ip_length + UDP_HEADER_LENGTH);
	} else if (stamp.kind == PACKET_ANSWER && stamp.run == thread->order.run) {
		histogram_record(&thread->latency, thread->now > stamp.time ? thread->now - stamp.time : 0);
		gun_count(thread, answers, 1);
		gun_count(thread, bytes, length);
	} else {
		gun_count(thread, unexpected, 1);
	}
}

static void take_opened(struct gun_thread *thread, struct gun_session *session, struct aead_op *op)
{
	enum wire_type type = (enum wire_type)wire_type(op->header);
	if (session->key == NULL || !op->authentic ||
	    transport_accept(thread->aead, session->key, op) != REPLAY_FRESH) {
		gun_count(thread, unexpected, 1);
		return;
	}
	if (session->attempt != NULL && session->attempt->ack_end != 0)
		gun_confirmed(thread, session);
	gun_heard(session);
	if (type == WIRE_DATA) {
		take_data(thread, op->output, op->length);
	} else if (type == WIRE_BYE) {
		gun_count(thread, ended, 1);
		gun_forget(session);
		if (op->output[0] == WIRE_BYE_RESTARTING)
			gun_lost(thread, session);
	} else if (type == WIRE_KEEPALIVE && op->length == WIRE_PROBE_SIZE && op->output[0] == WIRE_PING) {
		uint8_t pong[WIRE_PROBE_SIZE + AEAD_INPUT_SLACK] = {0};
		memcpy(pong, op->output, WIRE_PROBE_SIZE);
		pong[0] = WIRE_PONG;
		(void)gun_send_control(thread, session, WIRE_KEEPALIVE, pong, WIRE_PROBE_SIZE);
	}
}

static void open_batch(struct gun_thread *thread, struct batch *batch)
{
	if (batch->count == 0)
		return;
	transport_open(thread->aead, batch->session->key, batch->ops, batch->count);
	for (size_t i = 0; i < batch->count; i++)
		take_opened(thread, batch->session, &batch->ops[i]);
	batch->count = 0;
}

static void take_datagram(struct gun_thread *thread, struct batch *batch, uint8_t *message, uint32_t length)
{
	unsigned type = length >= WIRE_SMALLEST ? wire_type(message) : 0;
	if (type == WIRE_WELCOME || type == WIRE_COOKIE || type == WIRE_RESET) {
		open_batch(thread, batch);
		if (wire_high(message) == WIRE_VERSION)
			gun_take_handshake(thread, message, length);
		return;
	}
	bool transport = (type == WIRE_DATA || type == WIRE_KEEPALIVE || type == WIRE_BYE) && length >= WIRE_OVERHEAD;
	struct gun_session *session = transport ? gun_find(thread, wire_session_id(message)) : NULL;
	if (session == NULL || session->key == NULL || session->key->epoch != wire_high(message)) {
		gun_count(thread, unexpected, 1);
		return;
	}
	if (batch->session != session || batch->count == OPS)
		open_batch(thread, batch);
	/* What was opened may have ended it. */
	if (session->key == NULL)
		return;
	batch->session = session;
	transport_open_op(&batch->ops[batch->count++], message, length);
}

static bool receive_from(struct gun_thread *thread, struct udp_socket *socket)
{
	int received = socket->ops->receive(socket, thread->messages, MESSAGES);
	if (received <= 0)
		return false;
	thread->now = clock_monotonic(&clock_system);
	for (int i = 0; i < received; i++) {
		struct udp_message *message = &thread->messages[i];
		struct batch batch;
		batch.session = NULL;
		batch.count = 0;
		uint32_t step = message->segment_size != 0 ? message->segment_size : message->length;
		for (uint32_t at = 0; at < message->length; at += step) {
			uint32_t length = message->length - at < step ? message->length - at : step;
			take_datagram(thread, &batch, message->data + at, length);
		}
		open_batch(thread, &batch);
	}
	return true;
}

bool gun_receive(struct gun_thread *thread)
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
