// SPDX-License-Identifier: Apache-2.0
/* The control socket of a gateway with clients, asked by any user that may connect: requests in pieces, cut short, on
 * several connections at once, and time. Each request is answered by one JSON document, and every closed connection is
 * forgotten.
 */
#include "core/control/control.h"

#include <sodium.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "core/base/log.h"
#include "core/base/rcu.h"
#include "core/cli/ctl_answer.h"
#include "core/daemon/identity.h"
#include "core/gateway/control.h"
#include "core/gateway/control_peer.h"
#include "core/gateway/peers.h"
#include "core/gateway/top.h"
#include "tests/fuzz/input.h"

enum { CLIENTS = 4, STEPS = 24, LONGEST = 5000, SESSIONS = 64, ROUNDS = 64, ANSWER = 1 << 20, PEERS = 8 };

/* What peers own is found from locked memory alone, where the detector of leaks does not look. The unit tests watch for
 * those. */
// NOLINTNEXTLINE(bugprone-reserved-identifier): the sanitizer's name
const char *__asan_default_options(void);
// NOLINTNEXTLINE(bugprone-reserved-identifier): the sanitizer's name
const char *__asan_default_options(void)
{
	return "detect_leaks=0";
}

/* --- a gateway without threads ------------------------------------------------------------------------------------ */

static char directory[] = "/tmp/shardtun-fuzz-control-XXXXXX", path[64], configured[KEY_TEXT_SIZE];
static struct gateway_config *config;
static struct registry registry;
static struct gateway_running running;
static struct daemon fuzzed_daemon;
static struct control *control;
static struct control_listener listener;
static struct {
	struct clock clock; /* first: the clock's function finds the rest by it */
	uint64_t now;
} manual;

static uint64_t manual_monotonic(const struct clock *clock)
{
	(void)clock;
	return manual.now;
}

static void note_limit(void *context, uint32_t session_id)
{
	(void)context, (void)session_id;
}

static void note_end(void *context, uint32_t session_id, enum wire_bye_reason reason)
{
	(void)context, (void)session_id, (void)reason;
}

static void write_configuration(const char *file)
{
	char key[KEY_TEXT_SIZE], psk[KEY_TEXT_SIZE];
	uint8_t bytes[KEY_SIZE] = {[1] = 1};
	key_format(bytes, key);
	bytes[1] = 2;
	key_format(bytes, configured);
	bytes[1] = 3;
	key_format(bytes, psk);
	FILE *out = fopen(file, "we");
	insist(out != NULL && fchmod(fileno(out), 0600) == 0, "a file");
	fprintf(out,
		"[Gateway]\nPrivateKey = %s\nAddress = 10.8.0.1/24, fd00:8::1/64\nPublicEndpoint = [2001:db8::1]:5555\n"
		"[Peer]\nName = alice\nPublicKey = %s\nPresharedKey = %s\nAddress = 10.8.0.7\nAllowedIPs = "
		"192.168.7.0/24\n",
		key, configured, psk);
	fclose(out);
}

/* As a handshake and a worker make a session. */
static struct session *connect_peer(void)
{
	static uint32_t time;
	uint8_t key[KEY_SIZE] = {[1] = 2};
	struct wire_hello hello = {0};
	store_be32(hello.timestamp, ++time);
	struct registry_request request = {.hello = &hello, .cookie = time, .now = manual.now};
	struct registry_grant grant;
	struct peer *peer = peers_find(&registry.peers, key);
	insist(peer != NULL && registry_begin(&registry, peer, &request, &grant) == DROP_NONE, "a session");
	session_table_insert(&registry.table, grant.made);
	registry_attach(&registry, grant.made);
	session_set_active(grant.made);
	return grant.made;
}

static void disconnect(struct session *session)
{
	registry_detach(&registry, session);
	session_table_remove(&registry.table, session);
	registry_retire(&registry, session);
	registry_collect(&registry);
}

/* --- peers, the same for each input ------------------------------------------------------------------------------- */

static struct session *session;
static char added[PEERS][KEY_TEXT_SIZE];
static size_t added_count;
static bool deleted; /* the configured one */

static json_t *change_peers(void *context, char *const *words, size_t count, struct error *error)
{
	bool add = count > 1 && strcmp(words[0], "add") == 0;
	if (add && added_count == PEERS) {
		error_set(error, -ENOMEM, "no more of them, so that the next input finds none");
		return NULL;
	}
	json_t *result = gateway_control_peer(context, words, count, error);
	if (result == NULL)
		return NULL;
	if (add)
		(void)snprintf(added[added_count++], KEY_TEXT_SIZE, "%s", words[1]);
	else
		deleted |= strcmp(words[1], configured) == 0;
	return result;
}

static void as_configured(void)
{
	struct error error = {0};
	while (added_count != 0) {
		char *words[] = {(char[]){"del"}, added[--added_count]};
		json_decref(gateway_control_peer(&fuzzed_daemon, words, ARRAY_SIZE(words), &error));
	}
	if (!deleted)
		return;
	deleted = false;
	disconnect(session);
	insist(gateway_peers_load(&registry, config, &error) == 0, error.text);
	session = connect_peer();
}

static void fill_registry(void)
{
	struct error error = {0};
	struct registry_params params = {.addresses = config->addresses.items,
					 .address_count = config->addresses.count,
					 .max_sessions = SESSIONS,
					 .workers = 2};
	insist(registry_init(&registry, &params, &error) == 0, error.text);
	insist(gateway_peers_load(&registry, config, &error) == 0, error.text);
	session = connect_peer();
	running.top = gateway_top_new(&registry.table, &error);
	insist(running.top != NULL, error.text);
}

static void open_gateway(void)
{
	static struct control_command commands[DAEMON_COMMANDS_MAX];
	char file[64];
	struct error error = {0};
	if (control != NULL)
		return;
	log_set_level(LOG_LEVEL_ERROR);
	insist(keys_init(&error) == 0 && mkdtemp(directory) != NULL, "a directory");
	(void)snprintf(path, sizeof path, "%s/s", directory);
	(void)snprintf(file, sizeof file, "%s/f", directory);
	write_configuration(file);
	manual.clock = (struct clock){.monotonic = manual_monotonic};
	manual.now = NS_PER_S;
	rcu_join();
	insist(config_load_gateway(file, &config, &error) == 0, error.text);
	running.config = config;
	running.registry = &registry;
	running.identity = identity_load(&config->common, &error);
	running.ender.end = note_end;
	running.ender.limit = note_limit;
	fuzzed_daemon.params.context = &running;
	fuzzed_daemon.clock = &manual.clock;
	/* A reload is the work of another thread. */
	size_t count = 0;
	for (size_t i = 0; i < gateway_command_count && count < ARRAY_SIZE(commands); i++) {
		if (strcmp(gateway_commands[i].name, "reload") == 0)
			continue;
		commands[count] = gateway_commands[i];
		if (strcmp(commands[count].name, "peer") == 0)
			commands[count].handler = change_peers;
		count++;
	}
	struct control_params params = {.listener = &listener,
					.commands = commands,
					.command_count = count,
					.context = &fuzzed_daemon,
					.clock = &manual.clock};
	insist(control_listener_open(&listener, path, &error) == 0, error.text);
	control = control_new(&params, &error);
	insist(control != NULL, error.text);
	(void)unlink(file);
	fill_registry();
}

/* --- requests ----------------------------------------------------------------------------------------------------- */

static int dial(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	memcpy(address.sun_path, path, strlen(path));
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	insist(fd >= 0 && connect(fd, (const struct sockaddr *)&address, sizeof address) == 0, "a connection");
	return fd;
}

static void hear(int fd)
{
	static char text[ANSWER];
	size_t length = 0;
	ssize_t got;
	for (int i = 0; i < ROUNDS; i++) {
		control_poll(control);
		while ((got = recv(fd, text + length, sizeof text - length, MSG_DONTWAIT)) > 0)
			length += (size_t)got;
		if (got == 0)
			break;
	}
	if (length == 0)
		return; /* nothing was asked */
	struct error error = {0};
	json_t *result = NULL;
	insist(text[length - 1] == '\n' && memchr(text, '\n', length - 1) == NULL, "an answer is one line");
	int code = ctl_answer_parse(text, length, path, &result, &error);
	insist(code == 0 || (code == -EREMOTEIO && error.text[0] != '\0'), "and an answer");
	json_decref(result);
}

static void step(struct input *input, int clients[CLIENTS])
{
	static uint8_t data[LONGEST];
	uint8_t choice = input_byte(input);
	int *fd = &clients[choice % CLIENTS];
	if (*fd < 0)
		*fd = dial();
	size_t length = input_bytes(input, data, sizeof data);
	if (length != 0)
		(void)send(*fd, data, length, MSG_NOSIGNAL | MSG_DONTWAIT);
	if ((choice & 0x04) != 0)
		(void)send(*fd, "\n", 1, MSG_NOSIGNAL | MSG_DONTWAIT);
	if ((choice & 0x08) != 0)
		(void)shutdown(*fd, SHUT_WR);
	if ((choice & 0x10) != 0)
		manual.now += CONTROL_TIME_LIMIT / 4;
	control_poll(control);
	if ((choice & 0x20) != 0)
		gateway_top_step(running.top, manual.now);
	if ((choice & 0x40) != 0) {
		close(*fd);
		*fd = -1;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	int clients[CLIENTS] = {-1, -1, -1, -1};
	struct input input = {data, size};
	open_gateway();
	for (unsigned i = 0; i < STEPS && input.left > 0; i++)
		step(&input, clients);
	manual.now += 2 * CONTROL_TIME_LIMIT; /* unfinished requests get an error */
	control_poll(control);
	for (size_t i = 0; i < CLIENTS; i++) {
		if (clients[i] < 0)
			continue;
		hear(clients[i]);
		close(clients[i]);
	}
	control_poll(control);
	as_configured();
	return 0;
}
