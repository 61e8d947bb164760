// SPDX-License-Identifier: Apache-2.0
/* Many clients in one process against a real gateway: each a worker with the client's role, a UDP socket of its own and
 * a TUN pair whose other end is played here. They ping the gateway's inner addresses; each must get its own answers.
 *
 *   client_farm --peers COUNT --seed SEED     prints a gateway's [Peer] sections for them
 *   client_farm --gateway IPV4:PORT --gateway-key KEY --seed SEED --clients COUNT [OPTION...]
 *     --from IPV4       the clients' outer addresses count up from here; the kernel's choice without it
 *     --seconds T       exchange packets for so long, or until SIGTERM (--window COUNT of each client under way, 2)
 *     --churn COUNT     operations at random: connect, reconnect, disconnect, kill, roam
 *     --parallel COUNT  at most so many of them at a time (32)
 *     --interval MS     instead of a window: each client pings once in this time, whether it has a session or not, and
 *                       none gives up. SIGUSR1 ends a phase, of which a line of JSON tells after a second
 *     --to IPV4,IPV6    the inner addresses to ping, instead of the gateway's own
 *     --hold            stay connected after the result, until SIGTERM
 *
 * The result is one line of JSON. Exit status 1: something that may never happen did. */
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/resource.h>

#include "core/base/log.h"
#include "tests/harness/echo.h"
#include "tests/harness/packets.h"
#include "tests/netns/tools/client_farm.h"

enum {
	CLIENTS_MAX = 2000,
	MTU = 1420,
	TURNS = 16, /* of one client before the next has its turn */
	BUFFER = 1 << 17,
};
#define ALL_NS	    (50 * NS_PER_MS)  /* how often clients without traffic have their turn */
#define RESEND_NS   (300 * NS_PER_MS) /* an unanswered ping that ends an operation */
#define LOST_NS	    (2 * NS_PER_S)
#define PATIENCE_NS (20 * NS_PER_S) /* for an operation */

static const char *const operation_names[] = {"connect", "reconnect", "disconnect", "kill", "roam"};

struct farm farm;
static volatile sig_atomic_t ended, marked;

static void must(bool good, const char *what)
{
	if (good)
		return;
	fprintf(stderr, "client_farm: %s: %s\n", what, strerror(errno));
	exit(2);
}

static uint64_t now_ns(void)
{
	return clock_monotonic(&clock_system);
}

/* --- packets ------------------------------------------------------------------------------------- */

static const struct ip_address *own_address(const struct client *client, unsigned version)
{
	const struct wire_welcome *lease = &client->role.lease;
	return version == 4 ? &lease->address4.address : &lease->address6.address;
}

static size_t build(const struct client *client, unsigned version, uint16_t sequence, bool answer, uint8_t *packet)
{
	const struct ip_address *gateway = version == 4 ? &farm.inner4 : &farm.inner6;
	struct echo echo = {.client = own_address(client, version)->bytes,
			    .gateway = gateway->bytes,
			    .version = version,
			    .number = client->number,
			    .sequence = sequence,
			    .answer = answer};
	return echo_build(&echo, packet);
}

void farm_ping(struct client *client, unsigned version)
{
	uint8_t frame[VNET_HEADER_SIZE + 40 + 8 + ECHO_MAX] = {0};
	uint16_t sequence = client->sequence;
	size_t length = build(client, version, sequence, false, frame + VNET_HEADER_SIZE);
	if (tun_pair_put(&client->tun, frame, VNET_HEADER_SIZE + length) != 0)
		return;
	client->sequence++;
	client->waiting[sequence / 8] |= (uint8_t)(1u << sequence % 8);
	farm.result.sent++;
}

/* What came out of a client's TUN: an answer to a ping of its own, that it waits for. */
static void check_packet(struct client *client, const uint8_t *packet, size_t length)
{
	uint8_t expected[40 + 8 + ECHO_MAX];
	unsigned version = packet[0] >> 4;
	size_t head = version == 4 ? 20 : 40;
	if (length < head + 16 || memcmp(packet + head - (version == 4 ? 4 : 16), own_address(client, version)->bytes,
					 version == 4 ? 4 : 16) != 0) {
		farm.result.foreign++;
		return;
	}
	const uint8_t *icmp = packet + head;
	if (load_be16(icmp + 4) != (uint16_t)client->number || load_be32(icmp + 8) != client->number) {
		farm.result.foreign++;
		return;
	}
	uint16_t sequence = load_be16(icmp + 6);
	/* The gateway's kernel chooses ID and TTL. */
	if (length != build(client, version, sequence, true, expected) ||
	    memcmp(packet + head, expected + head, length - head) != 0) {
		farm.result.malformed++;
		return;
	}
	uint8_t bit = (uint8_t)(1u << sequence % 8);
	if ((client->waiting[sequence / 8] & bit) == 0) {
		farm.result.unasked++;
		return;
	}
	client->waiting[sequence / 8] &= (uint8_t)~bit;
	client->answered++;
	farm.result.answered++;
	if ((uint16_t)(sequence - client->first) < 0x8000)
		client->proof |= version == 4 ? 1 : 2;
	if (client->under_way > 0)
		client->under_way--;
	client->progress = now_ns();
	pulse_answered(client, client->progress);
}

/* --- clients ------------------------------------------------------------------------------------- */

static void make_key(uint32_t number, uint8_t private_key[KEY_SIZE])
{
	uint8_t bytes[4];
	store_be32(bytes, number);
	key_derive(private_key, KEY_SIZE, (const uint8_t *)farm.seed, strlen(farm.seed), "client_farm", bytes,
		   sizeof bytes);
}

/* Each time the client comes from an unused address. */
static struct udp_socket *open_socket(const struct client *client)
{
	struct error error = {0};
	struct udp_params params = {.buffer = BUFFER, .gso = true, .gro = true};
	if (farm.from != 0) {
		uint32_t host = 1 + (client->number + client->roams * (uint32_t)farm.count) % (ADDRESSES - 2);
		params.address.family = 4;
		store_be32(params.address.bytes, farm.from + host);
	}
	struct udp_socket *udp = udp_open(&params, &error);
	if (udp == NULL)
		fprintf(stderr, "client_farm: %s\n", error.text);
	must(udp != NULL, "socket");
	return udp;
}

static void set_phase(struct client *client, enum phase phase)
{
	farm.busy += (size_t)(phase == BUSY);
	farm.busy -= (size_t)(client->phase == BUSY);
	client->phase = phase;
	client->began = now_ns();
	client->due = 0;
	client->proof = 0;
	client->first = client->sequence;
}

static void start(struct client *client)
{
	client->role = (struct client_role){
		.identity = &client->identity,
		.remote = &client->remote,
		.allowed = &farm.allowed,
		.networks = &farm.networks,
		.mtu = MTU,
	};
	size_t suites = 0;
	for (unsigned suite = AEAD_SUITE_FIRST; suite <= AEAD_SUITE_LAST; suite++) {
		if (aead_engine_suite(farm.aead, suite) != NULL)
			client->role.suites[suites++] = (uint8_t)suite;
	}
	must(client_role_init(&client->role) == 0, "role");
	must(session_table_init(&client->table, 1, 1) == 0, "table");
	must(tun_pair_open(&client->tun, (struct tun_offloads){true, true, true}) == 0, "TUN");
	client->udp = open_socket(client);
	struct worker_params params = {
		.udp = client->udp,
		.tun = &client->tun.queue,
		.aead = farm.aead,
		.clock = &clock_system,
		.role = &client_worker_role,
		.role_state = &client->role,
		.table = &client->table,
		.reads_tun = true,
		.ticks_per_second = NS_PER_S,
	};
	client->worker = worker_new(&params, NULL);
	must(client->worker != NULL, "worker");
	struct epoll_event event = {.events = EPOLLIN, .data.ptr = client};
	must(epoll_ctl(farm.epoll_fd, EPOLL_CTL_ADD, client->worker->loop.epoll_fd, &event) == 0, "epoll");

	struct client_target *target = malloc(sizeof *target);
	must(target != NULL, "target");
	*target = (struct client_target){.candidates = {{farm.gateway, MTU}}, .count = 1};
	free(mailbox_post(&client->role.targets, target));
	worker_wake(client->worker);
	set_phase(client, BUSY);
}

/* With BYE, or as if the machine was switched off. */
static void stop(struct client *client, bool orderly)
{
	if (orderly) {
		event_loop_stop(&client->worker->loop);
		worker_run(client->worker);
		farm.owners[client->address] = 0;
		client->address = 0;
	}
	struct stats_snapshot snapshot = {0};
	stats_read(&client->worker->loop.stats, &snapshot);
	farm.result.drops += stats_drop_sum(&snapshot, UPLINK) + stats_drop_sum(&snapshot, DOWNLINK);
	worker_free(client->worker);
	client->worker = NULL;
	udp_close(client->udp);
	tun_pair_close(&client->tun);
	session_table_deinit(&client->table);
	client_role_deinit(&client->role);
	client->under_way = 0;
	set_phase(client, DOWN);
}

static void roam(struct client *client)
{
	client->roams++;
	udp_close(client->udp);
	client->udp = client->worker->udp = open_socket(client);
	struct epoll_event event = {.events = EPOLLIN, .data.fd = client->udp->fd};
	must(epoll_ctl(client->worker->loop.epoll_fd, EPOLL_CTL_ADD, client->udp->fd, &event) == 0, "epoll");
	set_phase(client, BUSY);
}

/* The client is up: no other may have its address. */
void farm_note_lease(struct client *client)
{
	uint32_t address = load_be32(own_address(client, 4)->bytes) % ADDRESSES;
	if (load_be16(own_address(client, 6)->bytes + 14) != address)
		farm.result.malformed++;
	if (address == client->address)
		return;
	farm.owners[client->address] = 0;
	if (farm.owners[address] != 0)
		farm.result.held_twice++;
	if (client->last != 0 && client->last != address)
		farm.result.moved++;
	farm.owners[address] = client->number + 1;
	client->address = client->last = address;
}

static void follow(struct client *client, uint64_t now)
{
	/* One that renews its keys uses those before until the new ones are confirmed. */
	bool up = client->role.state == CLIENT_UP || (client->phase == READY && client->role.state == CLIENT_CONFIRM);
	if (farm.traffic && farm.interval != 0) {
		pulse_follow(client, up);
		return;
	}
	if (client->phase == READY && !up) {
		farm.result.surprises++;
		set_phase(client, BUSY);
	}
	if (client->phase != BUSY)
		return;
	if (now - client->began > PATIENCE_NS) {
		farm.result.failed++;
		stop(client, up);
		return;
	}
	if (up)
		farm_note_lease(client);
	if (up && client->proof == 3) {
		set_phase(client, READY);
	} else if (up && now >= client->due) {
		client->due = now + RESEND_NS;
		farm_ping(client, 4);
		farm_ping(client, 6);
	}
}

static void fill_window(struct client *client, uint64_t now)
{
	if (client->under_way != 0 && now - client->progress > LOST_NS)
		client->under_way = 0; /* lost; an answer that comes later is taken all the same */
	if (client->under_way == 0)
		client->progress = now;
	for (; client->under_way < farm.window; client->under_way++)
		farm_ping(client, client->sequence % 2 != 0 ? 6 : 4);
}

void farm_turn(struct client *client)
{
	uint8_t frame[TUN_FRAME_MAX];
	size_t length, work = 1;
	for (unsigned i = 0; i < TURNS && client->worker != NULL && work != 0; i++) {
		work = worker_turn(client->worker);
		for (; (length = tun_pair_take(&client->tun, frame)) > VNET_HEADER_SIZE; work++)
			check_packet(client, frame + VNET_HEADER_SIZE, length - VNET_HEADER_SIZE);
		follow(client, now_ns());
		if (farm.traffic && farm.interval == 0 && client->phase == READY)
			fill_window(client, now_ns());
	}
}

/* Handles the clients with events; waits for at most `ms`. */
static void poll_clients(int ms)
{
	struct epoll_event events[256];
	rcu_offline();
	int ready = epoll_wait(farm.epoll_fd, events, ARRAY_SIZE(events), ms);
	rcu_online();
	for (int i = 0; i < ready; i++)
		farm_turn(events[i].data.ptr);
	uint64_t now = now_ns();
	if (now < farm.next_all)
		return;
	farm.next_all = now + ALL_NS;
	for (size_t i = 0; i < farm.count; i++) {
		if (farm.clients[i].worker != NULL)
			farm_turn(&farm.clients[i]);
	}
}

/* --- what they do -------------------------------------------------------------------------------- */

static void connect_all(void)
{
	uint64_t began = now_ns();
	for (size_t i = 0; i < farm.count; i++) {
		start(&farm.clients[i]);
		farm_turn(&farm.clients[i]);
	}
	while (farm.busy != 0)
		poll_clients(10);
	farm.result.connect_ms = (now_ns() - began) / NS_PER_MS;
}

static void exchange(unsigned seconds)
{
	uint64_t end = now_ns() + seconds * NS_PER_S;
	farm.traffic = true;
	if (farm.interval != 0)
		pulse_begin();
	for (size_t i = 0; i < farm.count; i++)
		farm_turn(&farm.clients[i]);
	while (now_ns() < end && !ended) {
		poll_clients(farm.interval != 0 ? 2 : 10);
		if (farm.interval != 0)
			pulse_turn();
		if (marked && pulse_end_phase())
			marked = 0;
	}
	farm.traffic = false;
	end = now_ns() + LOST_NS;
	while (farm.result.answered < farm.result.sent && now_ns() < end)
		poll_clients(10);
}

static enum operation operate(struct client *client)
{
	enum operation operation = CONNECT;
	if (client->phase == READY)
		operation = RECONNECT + random_below(&farm.random, OPERATIONS - RECONNECT);
	if (operation == ROAM)
		roam(client);
	else if (operation != CONNECT)
		stop(client, operation != KILL);
	if (operation == CONNECT || operation == RECONNECT || operation == KILL)
		start(client);
	if (client->worker != NULL)
		farm_turn(client);
	return operation;
}

static void churn(uint64_t count)
{
	for (uint64_t done = 0; done < count || farm.busy != 0;) {
		struct client *client = &farm.clients[random_below(&farm.random, (uint32_t)farm.count)];
		if (done < count && farm.busy < farm.parallel && client->phase != BUSY) {
			farm.result.operations[operate(client)]++;
			done++;
		} else {
			poll_clients(done < count && farm.busy < farm.parallel ? 0 : 5);
		}
	}
}

static void disconnect_all(void)
{
	for (size_t i = 0; i < farm.count; i++) {
		if (farm.clients[i].worker != NULL)
			stop(&farm.clients[i], true);
	}
}

static size_t count_phase(enum phase phase)
{
	size_t count = 0;
	for (size_t i = 0; i < farm.count; i++)
		count += farm.clients[i].phase == phase;
	return count;
}

static int print_result(void)
{
	const struct result *r = &farm.result;
	uint64_t least = UINT64_MAX;
	for (size_t i = 0; i < farm.count; i++)
		least = farm.clients[i].answered < least ? farm.clients[i].answered : least;
	printf("{\"clients\": %zu, \"connected\": %zu, \"connect_ms\": %lu, \"sent\": %lu, \"lost\": %lu, "
	       "\"least\": %lu, \"foreign\": %lu, \"unasked\": %lu, \"malformed\": %lu, \"held_twice\": %lu, "
	       "\"moved\": %lu, \"failed\": %lu, \"surprises\": %lu, \"drops\": %lu",
	       farm.count, r->connected, r->connect_ms, r->sent, r->sent - r->answered, least, r->foreign, r->unasked,
	       r->malformed, r->held_twice, r->moved, r->failed, r->surprises, r->drops);
	for (size_t i = 0; i < OPERATIONS; i++)
		printf(", \"%s\": %lu", operation_names[i], r->operations[i]);
	puts("}");
	fflush(stdout);
	return r->foreign + r->unasked + r->malformed + r->held_twice + r->failed + r->surprises != 0;
}

/* --- start --------------------------------------------------------------------------------------- */

static void print_peers(uint32_t count)
{
	for (uint32_t i = 0; i < count; i++) {
		struct handshake_identity identity;
		uint8_t private_key[KEY_SIZE];
		char text[KEY_TEXT_SIZE];
		make_key(i, private_key);
		handshake_identity_init(&identity, private_key);
		key_format(identity.keys.public_key, text);
		printf("\n[Peer]\nPublicKey = %s\n", text);
	}
}

static void open_farm(void)
{
	struct rlimit limit;
	must(getrlimit(RLIMIT_NOFILE, &limit) == 0, "limit");
	limit.rlim_cur = limit.rlim_max;
	(void)setrlimit(RLIMIT_NOFILE, &limit);
	farm.epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	farm.aead = aead_engine_new("auto", NULL);
	farm.clients = calloc(farm.count, sizeof *farm.clients);
	must(farm.epoll_fd >= 0 && farm.aead != NULL && farm.clients != NULL, "start");
	static const struct ip_prefix all[] = {{.address.family = 4}, {.address.family = 6}};
	must(ip_set_init(&farm.allowed, all, ARRAY_SIZE(all)) == 0, "AllowedIPs");
	const uint8_t no_psk[KEY_SIZE] = {0};
	for (uint32_t i = 0; i < farm.count; i++) {
		struct client *client = &farm.clients[i];
		uint8_t private_key[KEY_SIZE];
		client->number = i;
		make_key(i, private_key);
		handshake_identity_init(&client->identity, private_key);
		must(handshake_remote_init(&client->remote, &client->identity, farm.gateway_key, no_psk), "key");
	}
}

/* In host order. */
static uint32_t parse_address(const char *text)
{
	struct ip_address address;
	must(ip_address_parse(text, &address) && address.family == 4, text);
	return load_be32(address.bytes);
}

static void parse_gateway(char *text)
{
	char *port = strchr(text, ':');
	must(port != NULL, "--gateway wants IPV4:PORT");
	*port++ = '\0';
	farm.gateway = (struct sockaddr_in6){.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)atoi(port))};
	farm.gateway.sin6_addr.s6_addr[10] = farm.gateway.sin6_addr.s6_addr[11] = 0xff;
	store_be32(farm.gateway.sin6_addr.s6_addr + 12, parse_address(text));
}

static void parse_inner(char *text)
{
	char *comma = strchr(text, ',');
	must(comma != NULL, "--to wants IPV4,IPV6");
	*comma = '\0';
	must(ip_address_parse(text, &farm.inner4) && farm.inner4.family == 4, text);
	must(ip_address_parse(comma + 1, &farm.inner6) && farm.inner6.family == 6, comma + 1);
}

static void end(int signal)
{
	(void)signal;
	ended = 1;
}

static void mark(int signal)
{
	(void)signal;
	marked = 1;
}

static int run(unsigned seconds, uint64_t operations, bool hold)
{
	rcu_join();
	open_farm();
	if (operations == 0)
		connect_all();
	if (seconds != 0)
		exchange(seconds);
	if (operations != 0)
		churn(operations);
	farm.result.connected = count_phase(READY);
	if (!hold)
		disconnect_all();
	int status = print_result();
	while (hold && !ended)
		poll_clients(10);
	disconnect_all();
	rcu_leave();
	return status;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{"peers", required_argument, NULL, 'p'},    {"seed", required_argument, NULL, 's'},
		{"gateway", required_argument, NULL, 'g'},  {"gateway-key", required_argument, NULL, 'k'},
		{"clients", required_argument, NULL, 'n'},  {"from", required_argument, NULL, 'f'},
		{"seconds", required_argument, NULL, 't'},  {"window", required_argument, NULL, 'w'},
		{"churn", required_argument, NULL, 'c'},    {"parallel", required_argument, NULL, 'q'},
		{"interval", required_argument, NULL, 'i'}, {"to", required_argument, NULL, 'a'},
		{"hold", no_argument, NULL, 'h'},	    {NULL, 0, NULL, 0}};
	/* The other options are numbers. */
	unsigned numbers[128] = {['w'] = 2, ['q'] = 32};
	int option;
	char inner[] = "10.8.0.1,fd00:8::1";
	farm.seed = "client_farm";
	parse_inner(inner);
	must(keys_init(NULL) == 0, "keys");
	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (option == '?')
			return 2;
		if (option == 's')
			farm.seed = optarg;
		else if (option == 'g')
			parse_gateway(optarg);
		else if (option == 'k')
			must(key_parse(optarg, farm.gateway_key), "--gateway-key");
		else if (option == 'f')
			farm.from = parse_address(optarg);
		else if (option == 'a')
			parse_inner(optarg);
		else
			numbers[option] = optarg != NULL ? (unsigned)atoi(optarg) : 1;
	}
	(void)signal(SIGTERM, end);
	(void)signal(SIGUSR1, mark);
	log_set_level(LOG_LEVEL_ERROR);
	if (numbers['p'] != 0) {
		print_peers(numbers['p']);
		return 0;
	}
	farm.count = numbers['n'];
	farm.window = numbers['w'];
	farm.parallel = numbers['q'];
	farm.interval = numbers['i'] * NS_PER_MS;
	must(farm.count > 0 && farm.count <= CLIENTS_MAX, "--clients");
	farm.random.state = strlen(farm.seed) + (unsigned char)farm.seed[0];
	return run(numbers['t'], numbers['c'], numbers['h'] != 0);
}
