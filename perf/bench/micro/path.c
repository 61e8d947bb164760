// SPDX-License-Identifier: Apache-2.0
/* What a datagram costs a worker on its way from the socket to the TUN, and a packet on its way back, without the
 * kernel: sockets and TUN are copies from and to memory. For both protocols, by size, with one session and with many in
 * turn. */
#include <sodium.h>
#include <sys/eventfd.h>

#include "core/base/rcu.h"
#include "perf/bench/micro/micro.h"
#include "tun/checksum.h"
#include "tun/frame.h"
#include "workers/worker.h"

enum {
	MESSAGES = 16,	 /* of one receive call */
	TRAIN = 40,	 /* datagrams in each */
	SESSIONS = 1024, /* with "many" */
	SMALL = 64,	 /* bytes of an inner packet */
	LARGE = 1400,
	SMALL_FRAMES = 256, /* that one turn of the worker reads off the TUN */
	SEGMENTS = 46,	    /* of a super-packet */
};

struct bench {
	struct udp_socket udp;
	struct tun_queue tun;
	struct aead_engine *engine;
	struct session_table table;
	struct session *sessions[SESSIONS];
	struct transport_key *clients[SESSIONS];
	uint32_t session_count;
	struct worker *worker;
	uint8_t *trains; /* sealed */
	uint32_t train_length, step;
	bool arrived; /* the trains of this turn were received */
	uint8_t frame[TUN_FRAME_MAX];
	uint32_t frame_length, frames, frames_left;
	uint32_t next_session;
};

static struct bench bench;

static void must(bool success, const char *what)
{
	if (success)
		return;
	fprintf(stderr, "path: %s\n", what);
	abort();
}

/* --- socket and TUN ----------------------------------------------------------------------------------------------- */

static int receive_trains(struct udp_socket *socket, struct udp_message *messages, size_t count)
{
	(void)socket;
	if (bench.arrived)
		return 0;
	bench.arrived = true;
	for (size_t i = 0; i < MESSAGES && i < count; i++) {
		memcpy(messages[i].data, bench.trains + i * bench.train_length, bench.train_length);
		messages[i].length = bench.train_length;
		messages[i].segment_size = (uint16_t)bench.step;
		messages[i].ecn = 0;
		messages[i].truncated = false;
		messages[i].endpoint = (struct endpoint){0};
	}
	return MESSAGES;
}

static int send_nowhere(struct udp_socket *socket, const struct udp_message *messages, size_t count)
{
	(void)socket, (void)messages;
	return (int)count;
}

static int read_frame(struct tun_queue *queue, struct iovec *frames, size_t count)
{
	(void)queue, (void)count;
	if (bench.frames_left == 0)
		return 0;
	bench.frames_left--;
	memcpy(frames->iov_base, bench.frame, bench.frame_length);
	frames->iov_len = bench.frame_length;
	return 1;
}

static int write_nowhere(struct tun_queue *queue, const struct tun_frame *frame)
{
	(void)queue, (void)frame;
	return 0;
}

static const struct udp_ops udp_ops = {.receive = receive_trains, .send = send_nowhere};
static const struct tun_ops tun_ops = {.read = read_frame, .write = write_nowhere};

/* --- the role ----------------------------------------------------------------------------------------------------- */

static uint32_t route(struct worker *worker, const struct inner *inner)
{
	(void)worker, (void)inner;
	bench.next_session = bench.next_session + 1 < bench.session_count ? bench.next_session + 1 : 0;
	return bench.sessions[bench.next_session]->id;
}

static enum drop_reason admit(struct worker *worker, const struct session *session, const struct inner *inner)
{
	(void)worker, (void)session, (void)inner;
	return DROP_NONE;
}

static void confirmed(struct worker *worker, struct session *session, const struct transport_key *key,
		      const struct endpoint *from, uint32_t bytes)
{
	(void)worker, (void)session, (void)key, (void)from, (void)bytes;
}

static void tick(struct worker *worker)
{
	(void)worker;
}

static void retire(struct worker *worker, struct session *session)
{
	(void)worker;
	session_free(session);
}

static const struct worker_role role = {.side = WIRE_SIDE_GATEWAY,
					.route = route,
					.admit = admit,
					.confirmed = confirmed,
					.tick = tick,
					.retire = retire};

/* --- what is measured --------------------------------------------------------------------------------------------- */

static void turn_up(void *context)
{
	(void)context;
	bench.arrived = false;
	for (uint32_t i = 0; i < bench.session_count; i++)
		bench.sessions[i]->current->live->replay.next = 0; /* the same messages come again */
	(void)worker_turn(bench.worker);
}

static void turn_down(void *context)
{
	(void)context;
	bench.frames_left = bench.frames;
	while (bench.frames_left != 0)
		(void)worker_turn(bench.worker);
}

static uint64_t counter(enum stats_counter which)
{
	return atomic_load_explicit(&bench.worker->loop.stats.counters[which], memory_order_relaxed);
}

/* UDP of `length` bytes from a client, with a right checksum. */
static void make_packet(uint8_t *packet, uint32_t length)
{
	static const uint8_t start[] = {0x45, 0, 0, 0, 0, 1, 0x40, 0, 64, IPPROTO_UDP, 0, 0, 10, 8, 0, 2, 10, 8, 0, 1};
	memset(packet, 0x5a, length);
	memcpy(packet, start, sizeof start);
	store_be16(packet + IPV4_AT_LENGTH, (uint16_t)length);
	uint16_t sum = (uint16_t)~checksum_fold(checksum_add(packet, IPV4_HEADER_MIN, 0));
	memcpy(packet + IPV4_AT_CHECKSUM, &sum, sizeof sum);
	store_be16(packet + IPV4_HEADER_MIN + UDP_AT_LENGTH, (uint16_t)(length - IPV4_HEADER_MIN));
	memset(packet + IPV4_HEADER_MIN + UDP_AT_CHECKSUM, 0, 2); /* none */
}

static void make_trains(uint32_t length)
{
	uint8_t packet[LARGE + AEAD_INPUT_SLACK];
	make_packet(packet, length);
	const struct transport_key *any = bench.clients[0];
	bench.step = transport_sealed_size(any, length, 1420);
	bench.train_length = TRAIN * bench.step;
	for (uint32_t i = 0; i < bench.session_count; i++)
		bench.clients[i]->send_counter = 0;
	uint32_t session = 0;
	for (uint32_t i = 0; i < MESSAGES * TRAIN; i++, session = session + 1 < bench.session_count ? session + 1 : 0) {
		transport_seal_packet(bench.engine, bench.clients[session], bench.sessions[session]->id, WIRE_DATA,
				      packet, length, bench.step, bench.trains + (size_t)i * bench.step);
	}
}

static void make_frame(uint32_t payload)
{
	const uint32_t headers = 40;
	struct virtio_net_hdr header = {.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM, .csum_start = 20};
	uint8_t *ip = bench.frame + VNET_HEADER_SIZE;
	memset(bench.frame, 0x5a, sizeof bench.frame);
	make_packet(ip, 100);
	header.csum_offset = TCP_AT_CHECKSUM;
	if (payload > LARGE) {
		header.gso_type = VIRTIO_NET_HDR_GSO_TCPV4;
		header.gso_size = (uint16_t)(LARGE - headers);
	}
	memcpy(bench.frame, &header, sizeof header);
	ip[IPV4_AT_PROTOCOL] = IPPROTO_TCP;
	store_be16(ip + IPV4_AT_LENGTH, (uint16_t)(headers + payload));
	ip[20 + TCP_AT_DATA_OFFSET] = 5 << 4;
	ip[20 + TCP_AT_FLAGS] = TCP_ACK;
	bench.frame_length = VNET_HEADER_SIZE + headers + payload;
}

static void report(const char *protocol, const char *what, void (*operation)(void *context), uint32_t items)
{
	char name[96];
	snprintf(name, sizeof name, "%s, %s, %u session%s", protocol, what, bench.session_count,
		 bench.session_count == 1 ? "" : "s");
	uint64_t before = counter(STATS_tun_tx_packets) + counter(STATS_udp_tx_data);
	operation(NULL);
	must(counter(STATS_tun_tx_packets) + counter(STATS_udp_tx_data) - before == items, "not all came through");
	micro_report(name, operation, NULL, 1, items);
}

static void measure(const char *protocol)
{
	make_trains(SMALL);
	report(protocol, "up, 64 bytes", turn_up, MESSAGES * TRAIN);
	make_trains(LARGE);
	report(protocol, "up, 1400 bytes", turn_up, MESSAGES * TRAIN);
	make_frame(SMALL - 40);
	bench.frames = SMALL_FRAMES;
	report(protocol, "down, 64 bytes", turn_down, SMALL_FRAMES);
	make_frame(SEGMENTS * (LARGE - 40));
	bench.frames = 4;
	report(protocol, "down, super-packets of 46 x 1400 bytes", turn_down, 4 * SEGMENTS);
}

/* --- sessions ----------------------------------------------------------------------------------------------------- */

static struct transport_key *make_key(bool wireguard, uint32_t id, enum transport_side side)
{
	struct noise_keys secrets = {0};
	store_be32(secrets.initiator_to_responder, id);
	store_be32(secrets.responder_to_initiator, ~id);
	struct transport_key *key = wireguard ? transport_key_new_wireguard(bench.engine, 1, &secrets, side,
									    wg_index(id, 1), 1)
					      : transport_key_new(bench.engine, AEAD_AES_256_GCM, 1, &secrets, side, 1);
	must(key != NULL && transport_key_wake(bench.engine, key), "key");
	return key;
}

static void open_sessions(bool wireguard, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++) {
		uint32_t id = session_table_take(&bench.table, 0);
		struct session *session = session_new(id, 1);
		must(session != NULL, "session");
		session->mtu = 1420;
		bench.sessions[i] = session;
		session_set_next(session, make_key(wireguard, id, TRANSPORT_GATEWAY), 1);
		(void)session_promote(session);
		bench.clients[i] = make_key(wireguard, id, TRANSPORT_CLIENT);
		worker_add_session(bench.worker, session);
	}
	bench.session_count = count;
	bench.next_session = 0;
}

static void close_sessions(void)
{
	for (uint32_t i = 0; i < bench.session_count; i++) {
		uint32_t id = bench.sessions[i]->id;
		worker_end_session(bench.worker, bench.sessions[i]);
		session_table_give_back(&bench.table, id);
		transport_key_free(bench.clients[i]);
	}
	bench.arrived = true;
	(void)worker_turn(bench.worker); /* frees them */
}

static void open_worker(void)
{
	struct error error = {0};
	bench.engine = aead_engine_new("auto", &error);
	must(bench.engine != NULL, error.text);
	must(session_table_init(&bench.table, SESSIONS, 1) == 0, "table");
	bench.udp = (struct udp_socket){.ops = &udp_ops, .fd = eventfd(0, EFD_CLOEXEC), .gso = true, .gro = true};
	bench.tun = (struct tun_queue){.ops = &tun_ops, .fd = eventfd(0, EFD_CLOEXEC)};
	struct worker_params params = {
		.udp = &bench.udp,
		.tun = &bench.tun,
		.aead = bench.engine,
		.clock = &clock_system,
		.role = &role,
		.table = &bench.table,
		.reads_tun = true,
		.ticks_per_second = NS_PER_S,
	};
	bench.worker = worker_new(&params, &error);
	must(bench.worker != NULL, error.text);
	bench.trains = malloc((size_t)MESSAGES * TRAIN * (LARGE + 64));
	must(bench.trains != NULL, "memory");
}

int main(void)
{
	static const uint32_t counts[] = {1, MESSAGES * TRAIN};
	must(sodium_init() >= 0, "libsodium");
	rcu_start();
	rcu_join();
	open_worker();
	for (unsigned wireguard = 0; wireguard <= 1; wireguard++) {
		for (size_t i = 0; i < ARRAY_SIZE(counts); i++) {
			open_sessions(wireguard, counts[i]);
			measure(wireguard ? "WireGuard" : "ours");
			close_sessions();
		}
	}
	worker_free(bench.worker);
	session_table_deinit(&bench.table);
	aead_engine_free(bench.engine);
	free(bench.trains);
	rcu_leave();
	return 0;
}
