// SPDX-License-Identifier: Apache-2.0
#include "workers/session_shares.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/base/bpf.h"
#include "core/protocol/head.h"
#include "tun/headers.h"

enum {
	/* registers, before the decision */
	ID = BPF_REG_7,
	MEMBER = BPF_REG_8,
	LINE = CACHE_LINE / sizeof(struct queue_shares_member), /* members on one, so that workers share none */
};

static uint32_t member(const struct session_shares *shares, uint32_t id)
{
	return (id & shares->sharding.slot_mask) / shares->sharding.workers & (shares->members - 1);
}

/* --- the program -------------------------------------------------------------------------------------------------- */

/* Offsets count from the UDP header. The length is that of all datagrams of a train, which is of one session. */
static void assemble(struct bpf_code *code, const struct session_shares *shares, uint32_t worker)
{
	uint32_t first = worker * shares->shares.stride;
	bpf_combine(code, BPF_MOV, BPF_PACKET, BPF_REG_1);
	bpf_constant(code, BPF_MOV, BPF_REG_1, worker);
	bpf_store(code, BPF_W, BPF_FRAME, QUEUE_SHARES_QUEUE, BPF_REG_1);
	bpf_load(code, BPF_W, BPF_REG_1, BPF_PACKET, offsetof(struct __sk_buff, len));
	bpf_constant(code, BPF_SUB, BPF_REG_1, UDP_HEADER_LENGTH);
	bpf_combine(code, BPF_MOV, BPF_REG_2, BPF_REG_1);
	bpf_constant(code, BPF_RSH, BPF_REG_2, 1);
	bpf_combine(code, BPF_ADD, BPF_REG_2, BPF_REG_1);
	bpf_constant(code, BPF_ADD, BPF_REG_2, SESSION_SHARES_BYTES);
	bpf_store(code, BPF_DW, BPF_FRAME, QUEUE_SHARES_COST, BPF_REG_2);
	unsigned runt = bpf_jump_if(code, BPF_JLT, BPF_REG_1, WIRE_SMALLEST);

	bpf_load_packet(code, BPF_B, UDP_HEADER_LENGTH);
	unsigned ours = bpf_jump_if(code, BPF_JGT, BPF_RESULT, 0x0f);
	bpf_load_packet(code, BPF_W, UDP_HEADER_LENGTH + WG_DATA_RECEIVER);
	bpf_constant(code, BPF_AND, BPF_RESULT, WIRE_SESSION_ID_MASK);
	unsigned wireguard = bpf_jump(code);
	bpf_land(code, ours);
	bpf_load_packet(code, BPF_W, UDP_HEADER_LENGTH + WIRE_SESSION_ID);
	bpf_land(code, wireguard);
	bpf_combine(code, BPF_MOV, ID, BPF_RESULT);
	unsigned nobody = bpf_jump_if(code, BPF_JEQ, ID, 0);
	bpf_combine(code, BPF_MOV, MEMBER, BPF_RESULT);
	bpf_constant(code, BPF_AND, MEMBER, shares->sharding.slot_mask);
	bpf_constant(code, BPF_DIV, MEMBER, shares->sharding.workers);
	bpf_constant(code, BPF_AND, MEMBER, shares->members - 1);
	bpf_constant(code, BPF_ADD, MEMBER, first);
	bpf_store(code, BPF_W, BPF_FRAME, QUEUE_SHARES_MEMBER, MEMBER);
	queue_shares_emit_find(code, &shares->shares);
	bpf_load(code, BPF_W, BPF_REG_1, BPF_RESULT, offsetof(struct queue_shares_member, owner));
	unsigned known = bpf_jump_if_register(code, BPF_JEQ, BPF_REG_1, ID);
	bpf_land(code, runt);
	bpf_land(code, nobody);
	bpf_constant(code, BPF_MOV, BPF_REG_1, first + shares->members);
	bpf_store(code, BPF_W, BPF_FRAME, QUEUE_SHARES_MEMBER, BPF_REG_1);
	queue_shares_emit_find(code, &shares->shares);
	bpf_land(code, known);
	queue_shares_emit_decide(code, &shares->shares);
}

/* --- opening ------------------------------------------------------------------------------------------------------ */

int session_shares_open(struct session_shares *shares, const struct session_sharding *sharding)
{
	*shares = (struct session_shares){.sharding = *sharding, .members = SESSION_SHARES_LEAST};
	while (shares->members < SESSION_SHARES_MOST &&
	       (uint64_t)shares->members * sharding->workers <= sharding->slot_mask)
		shares->members *= 2;
	shares->programs = malloc(sharding->workers * sizeof *shares->programs);
	for (uint32_t i = 0; shares->programs != NULL && i < sharding->workers; i++)
		shares->programs[i] = -1;
	int result = shares->programs != NULL
			     ? queue_shares_make(&shares->shares, sharding->workers, shares->members + LINE)
			     : -ENOMEM;
	if (result != 0)
		session_shares_close(shares);
	return result;
}

static uint32_t receive_buffer(const struct udp_socket *socket)
{
	int bytes = 0;
	socklen_t size = sizeof bytes;
	(void)getsockopt(udp_member((struct udp_socket *)socket, 0)->fd, SOL_SOCKET, SO_RCVBUF, &bytes, &size);
	return (uint32_t)bytes;
}

/* One session alone may fill half of what is shared, and that is to be as much as the socket had before, with what is
 * counted besides the length. The kernel keeps up to a quarter of what was received from being used again, and doubles
 * what it is given. */
int session_shares_load(struct session_shares *shares, uint32_t worker, struct udp_socket *socket)
{
	uint32_t opened = udp_member(socket, 0)->buffer;
	uint64_t one = opened != 0 ? opened : receive_buffer(socket), all = 3 * one * 4 / 3;
	if (all <= UINT32_MAX)
		udp_receive_buffer(socket, (uint32_t)(all / 2));
	queue_shares_resize(&shares->shares.queues[worker], 1, (uint64_t)receive_buffer(socket) * 3 / 4);
	struct bpf_code code = {.count = 0};
	assemble(&code, shares, worker);
	int program = bpf_load_filter(code.at, code.count);
	if (program < 0)
		return program;
	shares->programs[worker] = program;
	return 0;
}

int session_shares_attach(struct session_shares *shares, uint32_t worker, struct udp_socket *socket)
{
	int program = shares->programs[worker], result = 0;
	const struct udp_socket *one;
	for (size_t i = 0; result == 0 && (one = udp_member(socket, i)) != NULL; i++) {
		if (setsockopt(one->fd, SOL_SOCKET, SO_ATTACH_BPF, &program, sizeof program) != 0)
			result = -errno;
	}
	return result;
}

void session_shares_detach(struct udp_socket *socket)
{
	const struct udp_socket *one;
	int unused = 0;
	for (size_t i = 0; (one = udp_member(socket, i)) != NULL; i++)
		(void)setsockopt(one->fd, SOL_SOCKET, SO_DETACH_FILTER, &unused, sizeof unused);
}

void session_shares_close_programs(struct session_shares *shares)
{
	for (uint32_t i = 0; shares->programs != NULL && i < shares->sharding.workers; i++) {
		if (shares->programs[i] >= 0)
			close(shares->programs[i]);
	}
	free(shares->programs);
	shares->programs = NULL;
	if (shares->shares.stride != 0)
		queue_shares_close_arrays(&shares->shares);
}

void session_shares_close(struct session_shares *shares)
{
	session_shares_close_programs(shares);
	queue_shares_unmake(&shares->shares);
	*shares = (struct session_shares){0};
}

/* --- the worker --------------------------------------------------------------------------------------------------- */

struct queue_shares_tally session_shares_tally(const struct session_shares *shares, uint32_t worker)
{
	if (shares == NULL)
		return (struct queue_shares_tally){.queue = NULL};
	return (struct queue_shares_tally){
		.queue = &shares->shares.queues[worker],
		.members = shares->shares.members + (size_t)worker * shares->shares.stride,
		.bytes = atomic_load_explicit(&shares->shares.queues[worker].bytes, memory_order_relaxed),
		.slots = UINT64_MAX};
}

void session_shares_add(const struct session_shares *shares, struct queue_shares_tally *tally, uint32_t session_id)
{
	if (shares != NULL)
		atomic_store_explicit(&tally->members[member(shares, session_id)].owner, session_id,
				      memory_order_relaxed);
}

void session_shares_remove(const struct session_shares *shares, struct queue_shares_tally *tally, uint32_t session_id)
{
	if (shares == NULL)
		return;
	_Atomic uint32_t *owner = &tally->members[member(shares, session_id)].owner;
	if (atomic_load_explicit(owner, memory_order_relaxed) == session_id)
		atomic_store_explicit(owner, 0, memory_order_relaxed);
}

void session_shares_took(const struct session_shares *shares, struct queue_shares_tally *tally,
			 const struct udp_message *message)
{
	uint32_t of = shares->members;
	if (message->length >= WIRE_SMALLEST) {
		uint32_t id = message_session_id(message->data), own = member(shares, id);
		if (id != 0 && atomic_load_explicit(&tally->members[own].owner, memory_order_relaxed) == id)
			of = own;
	}
	queue_shares_took(tally, of, session_shares_cost(message->length));
}
