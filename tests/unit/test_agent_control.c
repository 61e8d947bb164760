// SPDX-License-Identifier: Apache-2.0
/* The agent's own control socket: its mode, how the cluster is described, a drain that outlives the agent, and
 * peers, which are written into an etcd that a server stands for. */
#include <criterion/criterion.h>
#include <dirent.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "core/agent/agent_state.h"
#include "tests/unit/etcd_keys.h"

TestSuite(agent_control, .timeout = 120);

#define KEY   "AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
#define OTHER "AgAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
enum { GUARD_S = 60, BLOCKS = 4 };

static struct etcd_keys store;
static char directory[] = "/tmp/shardtun-agent-XXXXXX";
static struct agent_settings settings = {.node = "gw1", .blocks = BLOCKS, .endpoint_count = 1, .prefix = "/p/"};
static struct agent *agent;

static void agent_begin(void)
{
	struct error error = {0};
	agent = agent_new(&settings, &clock_system, &error);
	cr_assert_not_null(agent, "%s", error.text);
}

static void begin(void)
{
	etcd_keys_start(&store);
	cr_assert_not_null(mkdtemp(directory));
	settings.endpoints[0] = store.server.url;
	unsigned pid = (unsigned)getpid(); /* tests run at the same time */
	(void)snprintf(settings.agreement, sizeof settings.agreement, "127.%u.%u.%u:5557", 1 + pid / 65536 % 254,
		       pid / 256 % 256, pid % 256);
	(void)snprintf(settings.state, sizeof settings.state, "%s/state", directory);
	(void)snprintf(settings.control, sizeof settings.control, "%s/gateway.sock", directory);
	(void)snprintf(settings.socket, sizeof settings.socket, "%s/agent.sock", directory);
	agent_begin();
}

static void remove_all(const char *path)
{
	DIR *dir = opendir(path);
	for (const struct dirent *entry; dir != NULL && (entry = readdir(dir)) != NULL;)
		(void)unlinkat(dirfd(dir), entry->d_name, 0);
	if (dir != NULL)
		(void)closedir(dir);
	(void)rmdir(path);
}

static void end(void)
{
	agent_free(agent);
	etcd_keys_stop(&store);
	remove_all(settings.state);
	remove_all(directory);
}

/* --- requests ----------------------------------------------------------------------------------------------------- */

static int client_of(const char *line)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	(void)snprintf(address.sun_path, sizeof address.sun_path, "%s", settings.socket);
	cr_assert_eq(connect(fd, (const struct sockaddr *)&address, sizeof address), 0);
	cr_assert_eq(write(fd, line, strlen(line)), (ssize_t)strlen(line));
	cr_assert_eq(write(fd, "\n", 1), 1);
	return fd;
}

/* Until it is closed, while the agent's loop turns. */
static json_t *answer_to(int fd)
{
	static char text[1 << 16];
	size_t length = 0;
	uint64_t limit = clock_monotonic(&clock_system) + GUARD_S * NS_PER_S;
	for (ssize_t got = -1; got != 0 && clock_monotonic(&clock_system) < limit;) {
		struct pollfd polled[] = {{.fd = fd, .events = POLLIN},
					  {.fd = control_fd(agent->control), .events = POLLIN},
					  {.fd = registrar_fd(agent->registrar), .events = POLLIN}};
		(void)poll(polled, 3, 20);
		agent_control_step(agent);
		got = recv(fd, text + length, sizeof text - 1 - length, MSG_DONTWAIT);
		length += got > 0 ? (size_t)got : 0;
	}
	close(fd);
	json_t *answer = json_loadb(text, length, 0, NULL);
	cr_assert_not_null(answer, "%.*s", (int)length, text);
	return answer;
}

/* The result, the caller's. */
static json_t *result_of(const char *line)
{
	json_t *answer = answer_to(client_of(line));
	json_t *result = json_incref(json_object_get(answer, "result"));
	cr_assert(json_is_true(json_object_get(answer, "ok")), "%s: %s", line,
		  json_string_value(json_object_get(answer, "error")));
	json_decref(answer);
	return result;
}

static void refuses(const char *line, const char *text)
{
	json_t *answer = answer_to(client_of(line));
	const char *error = json_string_value(json_object_get(answer, "error"));
	cr_assert(error != NULL && strstr(error, text) != NULL, "%s: %s", line, error);
	json_decref(answer);
}

static const char *text_of(json_t *object, const char *name)
{
	const char *text = json_string_value(json_object_get(object, name));
	return text != NULL ? text : "(none)";
}

static json_int_t number_of(json_t *object, const char *name)
{
	return json_integer_value(json_object_get(object, name));
}

static bool is_true(json_t *object, const char *name)
{
	return json_is_true(json_object_get(object, name));
}

/* --- the socket --------------------------------------------------------------------------------------------------- */

Test(agent_control, its_owner_alone_may_connect, .init = begin, .fini = end)
{
	struct stat status;
	cr_assert_eq(stat(settings.socket, &status), 0);
	cr_assert_eq(status.st_mode & 07777, 0600);
	refuses("frobnicate", "frobnicate");
	refuses("cluster now", "now: unexpected here");
}

/* --- cluster ------------------------------------------------------------------------------------------------------ */

static void see_cluster(void)
{
	struct ownership_view *view = &agent->view;
	view->sent = clock_monotonic(&clock_system);
	view->members_readable = true;
	(void)snprintf(view->members[view->member_count++], OWNERSHIP_NAME, "gw1");
	(void)snprintf(view->members[view->member_count++], OWNERSHIP_NAME, "gw2");
	view->node_count = 1;
	view->nodes[0] = (struct ownership_node_key){.name = "gw3", .inside = "10.9.0.3:5556", .draining = true};
	view->blocks[1] = (struct ownership_block_key){.kind = OWNERSHIP_OWNED, .node = "gw3"};
	view->blocks[2].kind = OWNERSHIP_CLEAN;
	view->blocks[3].kind = OWNERSHIP_UNREADABLE;
	agent->rule.blocks[4].mine = true;
	agent->rule.blocks[4].doing = OWNERSHIP_RELEASING;
	agent->unreadable.count = 1;
	agent->read_revision = 50;
	agent->watch.seen = 44;
}

Test(agent_control, before_a_read_nothing_is_said_of_etcd, .init = begin, .fini = end)
{
	json_t *cluster = result_of("cluster"), *etcd = json_object_get(cluster, "etcd");
	cr_assert_str_eq(text_of(cluster, "node"), "gw1");
	cr_assert_str_eq(text_of(cluster, "uuid"), agent->uuid);
	cr_assert_not(is_true(etcd, "answers"));
	cr_assert(json_is_null(json_object_get(etcd, "read_age_ms")));
	cr_assert_eq(number_of(etcd, "behind"), 0);
	cr_assert_str_eq(text_of(json_object_get(cluster, "peers"), "phase"), "waiting");
	cr_assert_eq(json_array_size(json_object_get(cluster, "nodes")), 0);
	json_decref(cluster);
}

Test(agent_control, nodes_and_blocks_are_those_of_the_last_read, .init = begin, .fini = end)
{
	static const char *const states[BLOCKS] = {"owned", "clean", "unreadable", "releasing"};
	see_cluster();
	json_t *cluster = result_of("cluster"), *etcd = json_object_get(cluster, "etcd");
	json_t *nodes = json_object_get(cluster, "nodes"), *blocks = json_object_get(cluster, "blocks");
	cr_assert(is_true(etcd, "answers"));
	cr_assert_eq(number_of(etcd, "behind"), 6);
	cr_assert_eq(number_of(etcd, "unreadable_keys"), 1);
	cr_assert_lt(number_of(etcd, "read_age_ms"), GUARD_S * 1000);
	cr_assert_eq(json_array_size(nodes), 3);
	cr_assert_str_eq(text_of(json_array_get(nodes, 1), "name"), "gw2");
	cr_assert(is_true(json_array_get(nodes, 1), "member"));
	cr_assert_not(is_true(json_array_get(nodes, 1), "alive"));
	json_t *other = json_array_get(nodes, 2);
	cr_assert_str_eq(text_of(other, "name"), "gw3");
	cr_assert_not(is_true(other, "member"));
	cr_assert(is_true(other, "alive"));
	cr_assert(is_true(other, "draining"));
	cr_assert_eq(number_of(other, "blocks"), 1);
	cr_assert_str_eq(text_of(other, "inside"), "10.9.0.3:5556");
	for (size_t i = 0; i < BLOCKS; i++)
		cr_assert_str_eq(text_of(json_array_get(blocks, i), "state"), states[i]);
	cr_assert_str_eq(text_of(json_array_get(blocks, 0), "node"), "gw3");
	cr_assert_str_eq(text_of(json_array_get(blocks, 1), "node"), "(none)");
	json_decref(cluster);
}

/* --- drain -------------------------------------------------------------------------------------------------------- */

static void drains(bool draining)
{
	json_t *drain = result_of("drain");
	cr_assert_eq(is_true(drain, "draining"), draining);
	cr_assert_eq(agent->rule.draining, draining);
	json_decref(drain);
}

Test(agent_control, a_drain_outlives_the_agent, .init = begin, .fini = end)
{
	drains(false);
	refuses("drain maybe", "drain takes on, off or nothing");
	refuses("drain on off", "drain takes on, off or nothing");
	drains(false);
	agent->rule.others = 2;
	agent->rule.blocks[3].mine = true;
	json_t *drain = result_of("drain on");
	cr_assert(is_true(drain, "draining"));
	cr_assert_eq(number_of(drain, "takers"), 2);
	cr_assert_eq(number_of(drain, "blocks"), 1);
	cr_assert_not(is_true(drain, "etcd_answers"));
	json_decref(drain);
	agent_free(agent);
	agent_begin();
	drains(true);
	json_decref(result_of("drain off"));
	drains(false);
	agent_free(agent);
	agent_begin();
	drains(false);
	json_decref(result_of("drain off"));
}

Test(agent_control, a_drain_that_cannot_be_kept_is_none, .init = begin, .fini = end)
{
	remove_all(settings.state);
	refuses("drain on", "draining: cannot be written");
	drains(false);
}

/* --- peer --------------------------------------------------------------------------------------------------------- */

Test(agent_control, a_peer_is_added_and_deleted_in_etcd, .init = begin, .fini = end)
{
	json_t *added = result_of("peer add " KEY " --name ann --protocol wireguard --allowed-ips 10.1.0.0/16 "
				  "--pool 65536 --reserved 0,1,2,65535 --rate-up 8M");
	cr_assert_str_eq(text_of(added, "added"), KEY);
	cr_assert_eq(number_of(added, "index"), 3, "the first that is not reserved");
	json_decref(added);
	json_t *record = etcd_keys_value(&store, "/p/peer/" KEY);
	cr_assert_str_eq(text_of(record, "name"), "ann");
	cr_assert_str_eq(text_of(record, "protocol"), "wireguard");
	cr_assert_str_eq(text_of(record, "rate_up"), "8M");
	json_decref(record);
	refuses("peer add " KEY, "there is such a peer");
	refuses("peer add " OTHER " --allowed-ips 10.1.0.0/16", "another peer has this network");
	refuses("peer add " OTHER " --index 3", "another peer has this address");
	refuses("peer add " OTHER " --index 65536 --pool 65536", "no address that can be given");
	refuses("peer add " OTHER " --index 65535 --pool 65536 --reserved 65535", "no address that can be given");
	refuses("peer add " OTHER " --colour red", "--colour: unexpected");
	refuses("peer del " OTHER, "there is no such peer");
	json_t *deleted = result_of("peer del " KEY);
	cr_assert_str_eq(text_of(deleted, "deleted"), KEY);
	json_decref(deleted);
	cr_assert_eq(json_object_size(store.keys), 1, "\"next\" is left");
}

/* Requests of clients that went away are carried out, and those of clients that wait are answered in their order. */
Test(agent_control, a_client_that_leaves_hinders_nobody, .init = begin, .fini = end)
{
	int fd = client_of("peer add " KEY);
	agent_control_step(agent);
	close(fd);
	json_t *added = result_of("peer add " OTHER);
	cr_assert_eq(number_of(added, "index"), 3);
	json_decref(added);
	json_t *record = etcd_keys_value(&store, "/p/peer/" KEY);
	cr_assert_not_null(record);
	json_decref(record);
}

/* The thread has one of them, so this many more wait. */
Test(agent_control, not_more_wait_than_there_are_connections, .init = begin, .fini = end)
{
	pthread_mutex_lock(&store.lock); /* etcd answers nothing */
	char *const words[] = {(char[]){"del"}, (char[]){KEY}};
	struct error error = {0};
	unsigned begun = 0;
	uint64_t limit = clock_monotonic(&clock_system) + GUARD_S * NS_PER_S;
	/* The thread may be slow to take its own. */
	while (begun <= CONTROL_CONNECTIONS_MAX && clock_monotonic(&clock_system) < limit) {
		if (registrar_has_room(agent->registrar)) {
			registrar_begin(agent->registrar, registrar_job_new(words, 2, &error));
			begun++;
		} else {
			(void)usleep(1000);
		}
	}
	cr_assert_eq(begun, CONTROL_CONNECTIONS_MAX + 1);
	cr_assert_not(registrar_has_room(agent->registrar));
	refuses("peer del " KEY, "too many peers are being added");
	pthread_mutex_unlock(&store.lock);
}
