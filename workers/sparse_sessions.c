// SPDX-License-Identifier: Apache-2.0
#include "workers/sparse_sessions.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/base/bpf.h"
#include "core/base/hot.h"
#include "core/protocol/messages.h"

enum {
	/* registers */
	ID = BPF_REG_8,
	SESSION = BPF_REG_8, /* its struct sparse_session */
	WORKER = BPF_REG_9,
	/* frame */
	SESSION_KEY = -4,
	WORKER_KEY = -8,
	FIRST_BYTE = -12,
	QUEUE = -40, /* behind those of core/base/sparse_queue.h */
};

struct maps {
	int queues, sessions;
};

/* --- the program -------------------------------------------------------------------------------------------------- */

static void leave_with_hash(struct bpf_code *code)
{
	bpf_constant(code, BPF_MOV, BPF_RESULT, STEERING_HASH);
	bpf_leave(code);
}

/* By the number in register 0. */
static void leave_with_handshaker(struct bpf_code *code, const struct steering *steering)
{
	if (steering->handshakers != 0) {
		bpf_constant(code, BPF_MOD, BPF_RESULT, steering->handshakers);
		bpf_constant(code, BPF_ADD, BPF_RESULT, steering->workers);
	} else {
		bpf_constant(code, BPF_MOV, BPF_RESULT, 0);
	}
	bpf_leave(code);
}

static void leave_with_worker(struct bpf_code *code)
{
	bpf_combine(code, BPF_MOV, BPF_RESULT, WORKER);
	bpf_leave(code);
}

static void steer_index_to_handshaker(struct bpf_code *code, const struct steering *steering, uint32_t offset)
{
	bpf_load_packet(code, BPF_W, offset);
	bpf_constant(code, BPF_AND, BPF_RESULT, WIRE_SESSION_ID_MASK);
	leave_with_handshaker(code, steering);
}

/* Register 0, the first byte, becomes the session ID of data. */
static void steer_wireguard(struct bpf_code *code, const struct steering *steering)
{
	unsigned data = bpf_jump_if(code, BPF_JGT, BPF_RESULT, WG_COOKIE_REPLY);
	unsigned none = bpf_jump_if(code, BPF_JEQ, BPF_RESULT, 0);
	unsigned other = bpf_jump_if(code, BPF_JNE, BPF_RESULT, WG_RESPONSE);
	steer_index_to_handshaker(code, steering, WG_RESPONSE_RECEIVER);
	bpf_land(code, other);
	steer_index_to_handshaker(code, steering, WG_SENDER); /* of a cookie reply: the receiver's */
	bpf_land(code, data);
	bpf_land(code, none);
	bpf_load_packet(code, BPF_W, WG_DATA_RECEIVER);
	bpf_constant(code, BPF_AND, BPF_RESULT, WIRE_SESSION_ID_MASK);
}

/* The same of our own protocol. */
static void steer_own(struct bpf_code *code, const struct steering *steering)
{
	for (unsigned type = 0; type < WIRE_TYPES; type++) {
		if (!wire_is_for_handshakers(type))
			continue;
		unsigned other = bpf_jump_if(code, BPF_JNE, BPF_RESULT, WIRE_VERSION << 4 | type);
		bpf_load_packet(code, BPF_W, WIRE_MAGIC);
		leave_with_handshaker(code, steering);
		bpf_land(code, other);
	}
	bpf_load_packet(code, BPF_W, WIRE_SESSION_ID);
}

/* Registers 8 and 9: the session ID, and the worker. The index of the session in its map is in the frame. Offsets count
 * from the UDP payload. */
static void find_worker(struct bpf_code *code, const struct sparse_sessions *sparse)
{
	const struct steering *steering = &sparse->steering;
	bpf_combine(code, BPF_MOV, BPF_PACKET, BPF_REG_1);
	bpf_load(code, BPF_W, BPF_REG_1, BPF_PACKET, offsetof(struct __sk_buff, len));
	bpf_combine(code, BPF_MOV, BPF_REG_2, BPF_REG_1);
	bpf_constant(code, BPF_ADD, BPF_REG_2, SPARSE_PACKET_COST);
	bpf_store(code, BPF_DW, BPF_FRAME, SPARSE_COST, BPF_REG_2);
	unsigned long_enough = bpf_jump_if(code, BPF_JGE, BPF_REG_1, WIRE_SMALLEST);
	leave_with_hash(code);
	bpf_land(code, long_enough);

	bpf_load_packet(code, BPF_B, 0);
	bpf_store(code, BPF_W, BPF_FRAME, FIRST_BYTE, BPF_RESULT);
	unsigned own = bpf_jump_if(code, BPF_JGT, BPF_RESULT, 0x0f);
	steer_wireguard(code, steering);
	unsigned found = bpf_jump(code);
	bpf_land(code, own);
	steer_own(code, steering);
	bpf_land(code, found);
	bpf_combine(code, BPF_MOV, ID, BPF_RESULT);
	bpf_combine(code, BPF_MOV, BPF_REG_1, BPF_RESULT);
	bpf_constant(code, BPF_AND, BPF_REG_1, steering->slot_mask);
	bpf_combine(code, BPF_MOV, WORKER, BPF_REG_1);
	bpf_constant(code, BPF_MOD, WORKER, steering->workers);
	bpf_store(code, BPF_W, BPF_FRAME, WORKER_KEY, WORKER);
	bpf_constant(code, BPF_DIV, BPF_REG_1, steering->workers);
	bpf_constant(code, BPF_AND, BPF_REG_1, sparse->members - 1);
	bpf_combine(code, BPF_MOV, BPF_REG_2, WORKER);
	bpf_constant(code, BPF_MUL, BPF_REG_2, sparse->members);
	bpf_combine(code, BPF_ADD, BPF_REG_1, BPF_REG_2);
	bpf_store(code, BPF_W, BPF_FRAME, SESSION_KEY, BPF_REG_1);
}

/* The queue's struct is at register 0 and stays in the frame. When there is no probe on its way, or that is lost, the
 * datagram becomes one. */
static void probe(struct bpf_code *code)
{
	bpf_load(code, BPF_DW, BPF_REG_1, BPF_RESULT, offsetof(struct sparse_queue, probed));
	bpf_combine(code, BPF_MOV, BPF_REG_2, SPARSE_NOW);
	bpf_combine(code, BPF_SUB, BPF_REG_2, BPF_REG_1);
	unsigned early = bpf_jump_if(code, BPF_JLT, BPF_REG_2, SPARSE_PROBE_NS);
	bpf_load(code, BPF_DW, BPF_REG_3, BPF_RESULT, offsetof(struct sparse_queue, found));
	unsigned found = bpf_jump_if_register(code, BPF_JEQ, BPF_REG_1, BPF_REG_3);
	unsigned under_way = bpf_jump_if(code, BPF_JLT, BPF_REG_2, SPARSE_LOST_NS);
	bpf_land(code, found);
	bpf_store(code, BPF_DW, BPF_FRAME, QUEUE, BPF_RESULT);
	bpf_load_packet(code, BPF_W, SPARSE_SESSIONS_PROBE);
	bpf_combine(code, BPF_MOV, SESSION, BPF_RESULT);
	bpf_constant(code, BPF_LSH, SESSION, 32);
	bpf_load_packet(code, BPF_W, SPARSE_SESSIONS_PROBE + 4);
	bpf_combine(code, BPF_OR, SESSION, BPF_RESULT);
	bpf_load(code, BPF_DW, BPF_REG_1, BPF_FRAME, QUEUE);
	bpf_store(code, BPF_DW, BPF_REG_1, offsetof(struct sparse_queue, probe), SESSION);
	bpf_store(code, BPF_DW, BPF_REG_1, offsetof(struct sparse_queue, probed), SPARSE_NOW);
	bpf_land(code, early);
	bpf_land(code, under_way);
}

/* Of a client that marks what is sparse. Returns the jumps of what has no mark, and of what has one while the first
 * socket is far behind: so far that it may hold earlier packets of the same flow. */
static void take_marks(struct bpf_code *code, unsigned *other, unsigned *behind)
{
	const int last_other = offsetof(struct sparse_session, last_other);
	const int other_since = offsetof(struct sparse_session, other_since);
	bpf_load(code, BPF_W, BPF_REG_1, SESSION, offsetof(struct sparse_session, most));
	unsigned by_session = bpf_jump_if(code, BPF_JNE, BPF_REG_1, SPARSE_SESSIONS_MARKED);
	bpf_load(code, BPF_DW, BPF_REG_1, SESSION, last_other);
	bpf_load(code, BPF_DW, BPF_REG_2, BPF_FRAME, SPARSE_DRAINED);
	bpf_load(code, BPF_W, BPF_REG_3, BPF_FRAME, FIRST_BYTE);
	bpf_constant(code, BPF_AND, BPF_REG_3, WIRE_TYPES - 1);
	unsigned marked = bpf_jump_if(code, BPF_JEQ, BPF_REG_3, WIRE_DATA_SPARSE);
	unsigned goes_on = bpf_jump_if_register(code, BPF_JGT, BPF_REG_1, BPF_REG_2);
	bpf_store(code, BPF_DW, SESSION, other_since, SPARSE_NOW);
	bpf_land(code, goes_on);
	bpf_store(code, BPF_DW, SESSION, last_other, SPARSE_NOW);
	*other = bpf_jump(code);
	bpf_land(code, marked);
	unsigned drained = bpf_jump_if_register(code, BPF_JLE, BPF_REG_1, BPF_REG_2);
	bpf_load(code, BPF_DW, BPF_REG_1, SESSION, other_since);
	unsigned later = bpf_jump_if_register(code, BPF_JGE, BPF_REG_2, BPF_REG_1);
	bpf_combine(code, BPF_MOV, BPF_REG_2, BPF_REG_1);
	bpf_land(code, later);
	bpf_constant(code, BPF_ADD, BPF_REG_2, SPARSE_BEHIND_NS);
	*behind = bpf_jump_if_register(code, BPF_JLT, BPF_REG_2, SPARSE_NOW);
	bpf_land(code, drained);
	bpf_land(code, by_session);
}

/* All after the look-ups: the session's struct is at register 8, the queue's at register 0. */
static void decide(struct bpf_code *code, const struct sparse_sessions *sparse)
{
	const int member = offsetof(struct sparse_session, member);
	unsigned dense[4], other;
	sparse_emit_drained(code, BPF_RESULT);
	take_marks(code, &other, &dense[0]);
	sparse_emit_add(code, SESSION, member + (int)offsetof(struct sparse_member, window));
	bpf_load(code, BPF_W, BPF_REG_2, SESSION, offsetof(struct sparse_session, most));
	dense[1] = bpf_jump_if_register(code, BPF_JGT, BPF_REG_1, BPF_REG_2);
	bpf_constant(code, BPF_ADD, SESSION, (uint32_t)member);
	dense[2] = sparse_emit_not_drained(code, SESSION);
	bpf_constant(code, BPF_SUB, SESSION, (uint32_t)member);
	dense[3] = sparse_emit_count(code, BPF_RESULT, offsetof(struct sparse_queue, window), SPARSE_QUEUE_COST);
	bpf_constant(code, BPF_MOV, BPF_REG_1, 1);
	bpf_add_atomically(code, BPF_RESULT, offsetof(struct sparse_queue, entered), BPF_REG_1);
	bpf_combine(code, BPF_MOV, BPF_RESULT, WORKER);
	bpf_constant(code, BPF_ADD, BPF_RESULT, sparse->steering.workers + sparse->steering.handshakers);
	bpf_leave(code);
	for (size_t i = 0; i < ARRAY_SIZE(dense); i++)
		bpf_land(code, dense[i]);
	bpf_constant(code, BPF_ADD, SESSION, (uint32_t)member);
	sparse_emit_dense(code, SESSION);
	bpf_land(code, other);
	probe(code);
}

static void assemble(struct bpf_code *code, const struct sparse_sessions *sparse, const struct maps *maps)
{
	find_worker(code, sparse);
	unsigned none = bpf_jump_if(code, BPF_JEQ, ID, 0);
	bpf_look_up(code, maps->sessions, SESSION_KEY);
	bpf_load(code, BPF_W, BPF_REG_1, BPF_RESULT, offsetof(struct sparse_session, id));
	unsigned stranger = bpf_jump_if_register(code, BPF_JNE, BPF_REG_1, ID);
	bpf_combine(code, BPF_MOV, SESSION, BPF_RESULT);
	sparse_emit_time(code);
	bpf_look_up(code, maps->queues, WORKER_KEY);
	decide(code, sparse);
	bpf_land(code, none);
	bpf_land(code, stranger);
	leave_with_worker(code);
}

/* --- loading ------------------------------------------------------------------------------------------------------ */

static int map(struct sparse_sessions *sparse, const struct maps *maps)
{
	uint32_t workers = sparse->steering.workers;
	sparse->queues = bpf_map_array(maps->queues, workers * sizeof *sparse->queues, &sparse->queues_mapped);
	if (sparse->queues == NULL)
		return -errno;
	sparse->sessions = bpf_map_array(maps->sessions, (size_t)workers * sparse->members * sizeof *sparse->sessions,
					 &sparse->sessions_mapped);
	return sparse->sessions != NULL ? 0 : -errno;
}

static int load(struct sparse_sessions *sparse, const struct maps *maps)
{
	int result = maps->queues < 0 ? maps->queues : maps->sessions < 0 ? maps->sessions : map(sparse, maps);
	if (result != 0)
		return result;
	struct bpf_code code = {.count = 0};
	assemble(&code, sparse, maps);
	sparse->program = bpf_load_filter(code.at, code.count);
	return sparse->program < 0 ? sparse->program : 0;
}

int sparse_sessions_load(struct sparse_sessions *sparse, const struct steering *steering)
{
	*sparse = (struct sparse_sessions){.program = -1, .steering = *steering, .members = SPARSE_SESSIONS_LEAST};
	while (sparse->members < SPARSE_SESSIONS_MOST &&
	       (uint64_t)sparse->members * steering->workers <= steering->slot_mask)
		sparse->members *= 2;
	const struct maps maps = {
		.queues = bpf_make_array(sizeof *sparse->queues, steering->workers, BPF_F_MMAPABLE),
		.sessions = bpf_make_array(sizeof *sparse->sessions, steering->workers * sparse->members,
					   BPF_F_MMAPABLE),
	};
	int result = load(sparse, &maps);
	/* The program holds them. */
	if (maps.queues >= 0)
		close(maps.queues);
	if (maps.sessions >= 0)
		close(maps.sessions);
	if (result != 0)
		sparse_sessions_unload(sparse);
	return result;
}

int sparse_sessions_attach(const struct sparse_sessions *sparse, int fd)
{
	int program = sparse->program;
	return setsockopt(fd, SOL_SOCKET, SO_ATTACH_REUSEPORT_EBPF, &program, sizeof program) == 0 ? 0 : -errno;
}

void sparse_sessions_close_program(struct sparse_sessions *sparse)
{
	if (sparse->program >= 0)
		close(sparse->program);
	sparse->program = -1;
}

void sparse_sessions_unload(struct sparse_sessions *sparse)
{
	sparse_sessions_close_program(sparse);
	if (sparse->queues != NULL)
		munmap(sparse->queues, sparse->queues_mapped);
	if (sparse->sessions != NULL)
		munmap(sparse->sessions, sparse->sessions_mapped);
	*sparse = (struct sparse_sessions){.program = -1};
}

/* --- the worker --------------------------------------------------------------------------------------------------- */

static struct sparse_session *place_of(const struct sparse_sessions *sparse, uint32_t session_id)
{
	uint32_t workers = sparse->steering.workers, slot = session_id & sparse->steering.slot_mask;
	uint32_t member = slot / workers & (sparse->members - 1);
	return &sparse->sessions[(size_t)(slot % workers) * sparse->members + member];
}

void sparse_sessions_add(const struct sparse_sessions *sparse, uint32_t session_id)
{
	if (sparse == NULL)
		return;
	struct sparse_session *session = place_of(sparse, session_id);
	atomic_store_explicit(&session->most, SPARSE_COST_MOST, memory_order_relaxed);
	atomic_store_explicit(&session->id, session_id, memory_order_relaxed);
}

void sparse_sessions_mark(const struct sparse_sessions *sparse, uint32_t session_id, bool marks)
{
	struct sparse_session *session = sparse != NULL ? place_of(sparse, session_id) : NULL;
	if (session != NULL && atomic_load_explicit(&session->id, memory_order_relaxed) == session_id)
		atomic_store_explicit(&session->most, marks ? SPARSE_SESSIONS_MARKED : SPARSE_COST_MOST,
				      memory_order_relaxed);
}

void sparse_sessions_remove(const struct sparse_sessions *sparse, uint32_t session_id)
{
	if (sparse == NULL)
		return;
	struct sparse_session *session = place_of(sparse, session_id);
	if (atomic_load_explicit(&session->id, memory_order_relaxed) == session_id)
		atomic_store_explicit(&session->id, 0, memory_order_relaxed);
}

HOT void sparse_reader_settle(struct sparse_reader *reader, const struct sparse_queue *queue, uint64_t now)
{
	uint64_t entered = atomic_load_explicit(&queue->entered, memory_order_relaxed);
	if (entered != reader->seen) {
		reader->seen = entered;
		reader->since = now;
	} else if (entered != reader->taken && now - reader->since >= SPARSE_ENQUEUE_NS) {
		reader->taken = entered;
	}
}

HOT void sparse_reader_look(struct sparse_reader *reader, const struct sparse_queue *queue,
			    const struct udp_message *messages, size_t count)
{
	uint64_t probed = atomic_load_explicit(&queue->probed, memory_order_acquire);
	reader->probed = 0;
	if (probed == atomic_load_explicit(&queue->found, memory_order_relaxed))
		return;
	uint64_t probe = atomic_load_explicit(&queue->probe, memory_order_relaxed);
	for (size_t i = 0; i < count; i++) {
		if (messages[i].length >= WIRE_SMALLEST && load_be64(messages[i].data + SPARSE_SESSIONS_PROBE) == probe)
			reader->probed = probed;
	}
}

HOT void sparse_reader_handled(struct sparse_reader *reader, struct sparse_queue *queue, uint64_t began)
{
	if (reader->probed != 0)
		atomic_store_explicit(&queue->found, reader->probed, memory_order_relaxed);
	uint64_t handled = began > reader->probed ? began : reader->probed;
	if (handled != 0)
		sparse_queue_drained(queue, handled);
	reader->probed = 0;
}
