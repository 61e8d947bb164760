// SPDX-License-Identifier: Apache-2.0
/* The gateway's control commands on a registry without threads: pages of sessions, the difference that a reload makes,
 * peers at run time. Requests to end a session are recorded here. */
#include "core/gateway/control.h"

#include <sodium.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "core/daemon/identity.h"
#include "core/gateway/quota.h"
#include "core/gateway/sessions.h"
#include "tests/unit/config_files.h"
#include "tests/unit/control_words.h"

enum { MANY = 100000, ENDED_MAX = 8 };

static const char *standard_options = ""; /* of [Gateway], in every file */
static struct registry registry;
static struct gateway_config *config;
static struct gateway_running running;
static struct daemon own_daemon;
static char directory[] = "/tmp/test_reload.XXXXXX", conf[64], private_key[64], psk[64];
static uint32_t ended[ENDED_MAX];
static enum wire_bye_reason reasons[ENDED_MAX];
static size_t ended_count, limited_count;

static void note_limit(void *context, uint32_t session_id)
{
	(void)context, (void)session_id;
	limited_count++;
}

static void note_end(void *context, uint32_t session_id, enum wire_bye_reason reason)
{
	(void)context;
	cr_assert(ended_count < ENDED_MAX);
	ended[ended_count] = session_id;
	reasons[ended_count++] = reason;
}

static void write_file(const char *path, const char *text)
{
	FILE *out = fopen(path, "w");
	cr_assert_not_null(out);
	fputs(text, out);
	fclose(out);
	cr_assert_eq(chmod(path, 0600), 0);
}

static void write_key(const char *path)
{
	uint8_t key[KEY_SIZE];
	char text[KEY_TEXT_SIZE];
	randombytes_buf(key, sizeof key);
	key_format(key, text);
	write_file(path, text);
}

static const char *key_text(uint32_t number, char text[KEY_TEXT_SIZE])
{
	uint8_t key[KEY_SIZE] = {[31] = 1};
	store_be32(key, number);
	key_format(key, text);
	return text;
}

/* [Gateway] with `options`, and what `peers` says after it. */
static void write_config(const char *options, const char *peers)
{
	char text[4096];
	snprintf(text, sizeof text, POOL "%s%s\n%s", standard_options, options, peers);
	write_file(conf, text);
}

static void start(const char *peers)
{
	struct error error = {0};
	cr_assert_eq(keys_init(&error), 0);
	cr_assert_not_null(mkdtemp(directory));
	snprintf(conf, sizeof conf, "%s/f", directory);
	snprintf(private_key, sizeof private_key, "%s/gw.key", directory);
	snprintf(psk, sizeof psk, "%s/psk", directory);
	write_key(private_key);
	write_key(psk);
	write_config("", peers);
	rcu_join();
	cr_assert_eq(config_load_gateway(conf, &config, &error), 0, "%s", error.text);
	struct registry_params params = {.addresses = config->addresses.items,
					 .address_count = config->addresses.count,
					 .max_sessions = 1 << 17,
					 .workers = 2};
	cr_assert_eq(registry_init(&registry, &params, &error), 0);
	cr_assert_eq(gateway_peers_load(&registry, config, &error), 0, "%s", error.text);
	running = (struct gateway_running){.config = config,
					   .identity = identity_load(&config->common, &error),
					   .registry = &registry,
					   .ender = {.end = note_end, .limit = note_limit}};
	own_daemon.params.context = &running;
	own_daemon.clock = &clock_system;
}

static void stop(void)
{
	registry_deinit(&registry);
	rcu_leave();
	secret_free((void *)running.identity);
	config_free_gateway(running.reread);
	config_free_gateway(config);
	unlink(conf);
	unlink(private_key);
	unlink(psk);
	rmdir(directory);
}

/* A confirmed session of the peer, as a handshake and a worker make it. */
static struct session *connect_peer(uint32_t number)
{
	uint8_t key[KEY_SIZE];
	char text[KEY_TEXT_SIZE];
	struct wire_hello hello = {0};
	uint64_t now = clock_monotonic(&clock_system);
	struct registry_request request = {.hello = &hello, .cookie = now, .now = now};
	struct registry_grant grant;
	cr_assert(key_parse(key_text(number, text), key));
	struct peer *peer = peers_find(&registry.peers, key);
	cr_assert_not_null(peer);
	cr_assert_eq(registry_begin(&registry, peer, &request, &grant), DROP_NONE);
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

/* What the reloader's thread and the control thread do, one after the other. */
static json_t *reload_now(struct error *error)
{
	struct gateway_reload reload;
	struct gateway_reload_result result;
	gateway_reload_read(&running, &reload);
	int code = gateway_reload_apply(&running, &reload, &result, error);
	gateway_reload_free(&reload);
	return code == 0 ? gateway_control_reload_answer(&result, error) : NULL;
}

static json_t *command(const char *line, struct error *error)
{
	if (strcmp(line, "reload") == 0)
		return reload_now(error);
	return control_words_answer(gateway_commands, gateway_command_count, &own_daemon, line, error);
}

static void refuses(const char *line, const char *text)
{
	struct error error = {0};
	cr_assert_null(command(line, &error), "%s", line);
	cr_assert_not_null(strstr(error.text, text), "%s: %s", line, error.text);
}

static void reload(size_t added, size_t removed, size_t changed, size_t unchanged)
{
	struct error error = {0};
	json_t *result = command("reload", &error);
	cr_assert_not_null(result, "%s", error.text);
	cr_assert_eq((size_t)json_integer_value(json_object_get(result, "added")), added);
	cr_assert_eq((size_t)json_integer_value(json_object_get(result, "removed")), removed);
	cr_assert_eq((size_t)json_integer_value(json_object_get(result, "changed")), changed);
	cr_assert_eq((size_t)json_integer_value(json_object_get(result, "unchanged")), unchanged);
	json_decref(result);
}

/* --- sessions ------------------------------------------------------------------------------------------------------*/

Test(gateway_control, pages_show_each_session_once)
{
	struct session *sessions = calloc(MANY, sizeof *sessions);
	static bool seen[1 << 17];
	struct peer peer = {.public_key = {1}};
	struct session_table table;
	cr_assert_not_null(sessions);
	cr_assert(sodium_init() >= 0 && session_table_init(&table, MANY, 2) == 0);
	for (uint32_t i = 0; i < MANY; i++) {
		sessions[i].id = session_table_take(&table, i % 2);
		sessions[i].peer = &peer;
		session_table_insert(&table, &sessions[i]);
	}
	struct gateway_sessions_query query = {.count = UINT32_MAX, .active = true, .pending = true};
	size_t count = 0, pages = 0;
	json_t *page, *next, *session;
	do {
		size_t i;
		page = gateway_sessions_page(&table, &query, NS_PER_S);
		cr_assert(json_array_size(json_object_get(page, "sessions")) <= GATEWAY_SESSIONS_PAGE);
		json_array_foreach (json_object_get(page, "sessions"), i, session) {
			unsigned long id = strtoul(json_string_value(json_object_get(session, "id")), NULL, 16);
			cr_assert(session_table_find(&table, (uint32_t)id) != NULL);
			cr_assert(!seen[id & table.sharding.slot_mask]);
			seen[id & table.sharding.slot_mask] = true;
			count++;
		}
		next = json_object_get(page, "next");
		query.from = (uint32_t)json_integer_value(next);
		pages += 1;
		json_decref(page);
	} while (query.from != 0);
	cr_assert_eq(count, MANY);
	cr_assert(pages <= MANY / GATEWAY_SESSIONS_PAGE + 2);

	/* No session matches: the work is bounded all the same. */
	query = (struct gateway_sessions_query){.count = 1, .active = true};
	page = gateway_sessions_page(&table, &query, NS_PER_S);
	cr_assert_eq(json_integer_value(json_object_get(page, "next")), GATEWAY_SESSIONS_SLOTS);
	json_decref(page);
	query.from = UINT32_MAX;
	page = gateway_sessions_page(&table, &query, NS_PER_S);
	cr_assert(json_is_null(json_object_get(page, "next")));
	json_decref(page);
	session_table_deinit(&table);
	free(sessions);
}

/* --- reload ------------------------------------------------------------------------------------------------------- */

static const char *peer_text(uint32_t number, const char *options, char text[256])
{
	char key[KEY_TEXT_SIZE];
	snprintf(text, 256, "[Peer]\nPublicKey = %s\n%s\n", key_text(number, key), options);
	return text;
}

static void follow(const char *first, const char *second, const char *third)
{
	char text[1024], one[256], two[256], three[256];
	snprintf(text, sizeof text, "%s%s%s", first != NULL ? peer_text(1, first, one) : "",
		 second != NULL ? peer_text(2, second, two) : "", third != NULL ? peer_text(3, third, three) : "");
	write_config("", text);
}

Test(gateway_control, a_reload_ends_the_sessions_of_peers_that_go_or_change_and_no_other)
{
	char one[256], two[256], text[600];
	snprintf(text, sizeof text, "%s%s", peer_text(1, "AllowedIPs = 192.0.2.0/24", one), peer_text(2, "", two));
	start(text);
	struct session *first = connect_peer(1), *second = connect_peer(2);

	follow("AllowedIPs = 192.0.2.0/24", "", "");
	reload(1, 0, 0, 2);
	cr_assert_eq(ended_count, 0);

	follow("AllowedIPs = 192.0.2.0/24", NULL, "");
	reload(0, 1, 0, 2);
	cr_assert_eq(ended_count, 1);
	cr_assert(ended[0] == second->id && reasons[0] == WIRE_BYE_REMOVED);
	disconnect(second);

	static const char *const changes[] = {"AllowedIPs = 192.0.2.0/24\nAddress = 10.8.0.9",
					      "AllowedIPs = 192.0.2.0/24\nAddress = 10.8.0.10"};
	for (size_t i = 0; i < ARRAY_SIZE(changes); i++) {
		ended_count = 0;
		follow(changes[i], NULL, "");
		reload(0, 0, 1, 1);
		/* Maybe twice: for its peer, and for the address that this one keeps. */
		size_t count = ended_count;
		cr_assert(count >= 1);
		for (size_t j = 0; j < count; j++)
			cr_assert(ended[j] == first->id && reasons[j] == WIRE_BYE_RESTARTING);
		disconnect(first);
		first = connect_peer(1);
		reload(0, 0, 0, 2);
		cr_assert_eq(ended_count, count);
	}
	cr_assert_eq(first->inner4.address.bytes[3], 10);
	disconnect(first);
	stop();
}

/* What the worker does when it is told. */
static uint32_t attached(const struct session *session, uint8_t third)
{
	const uint8_t address[4] = {192, 0, third, 200};
	cr_assert_eq(limited_count, 1);
	limited_count = 0;
	registry_attach_networks(&registry, session);
	return registry_route(&registry, 4, address);
}

Test(gateway_control, other_networks_and_another_preshared_key_end_no_session)
{
	char one[256], two[256], text[600];
	snprintf(text, sizeof text, "%s%s", peer_text(1, "AllowedIPs = 192.0.2.0/24", one), peer_text(2, "", two));
	start(text);
	struct session *first = connect_peer(1), *second = connect_peer(2);

	follow("AllowedIPs = 192.0.2.0/25, 192.0.3.0/24", "", NULL);
	reload(0, 0, 1, 1);
	cr_assert_eq(attached(first, 2), 0);
	follow("AllowedIPs = 192.0.3.0/24", "AllowedIPs = 192.0.2.0/25", NULL);
	reload(0, 0, 2, 0);
	limited_count--; /* both were told */
	cr_assert_eq(attached(first, 3), first->id);
	follow("AllowedIPs = 192.0.2.0/25", "AllowedIPs = 192.0.3.0/24", NULL);
	reload(0, 0, 2, 0);
	limited_count--;
	cr_assert_eq(attached(second, 3), second->id, "they may exchange them");
	follow("AllowedIPs = 192.0.2.0/25", "AllowedIPs = 192.0.3.0/24\nPresharedKeyFile = psk", NULL);
	reload(0, 0, 1, 1);
	cr_assert_eq(attached(second, 3), second->id);
	write_key(psk); /* the same name, another key in the file */
	reload(0, 0, 1, 1);
	reload(0, 0, 0, 2);
	cr_assert_eq(attached(second, 3), second->id);
	cr_assert_eq(ended_count, 0);
	disconnect(first);
	disconnect(second);
	stop();
}

Test(gateway_control, two_peers_may_swap_their_addresses)
{
	char one[256], two[256], text[600];
	snprintf(text, sizeof text, "%s%s", peer_text(1, "Address = 10.8.0.5", one),
		 peer_text(2, "Address = 10.8.0.6", two));
	start(text);
	follow("Address = 10.8.0.6", "Address = 10.8.0.5", NULL);
	reload(0, 0, 2, 0);
	struct session *session = connect_peer(1);
	cr_assert_eq(session->inner4.address.bytes[3], 6);
	disconnect(session);
	stop();
}

Test(gateway_control, whoever_has_an_address_that_a_peer_gets_has_to_leave_it)
{
	start("");
	struct error error = {0};
	char key[KEY_TEXT_SIZE], line[128];
	snprintf(line, sizeof line, "peer add %s", key_text(1, key));
	json_decref(command(line, &error));
	struct session *session = connect_peer(1);
	cr_assert_eq(session->inner4.address.bytes[3], 2);
	snprintf(line, sizeof line, "peer add %s --address 10.8.0.2", key_text(2, key));
	json_decref(command(line, &error));
	cr_assert_eq(ended_count, 1);
	cr_assert(ended[0] == session->id && reasons[0] == WIRE_BYE_RESTARTING);
	disconnect(session);
	session = connect_peer(1);
	cr_assert_neq(session->inner4.address.bytes[3], 2);
	disconnect(session);
	stop();
}

Test(gateway_control, an_error_changes_nothing)
{
	char one[256];
	start(peer_text(1, "", one));
	struct session *session = connect_peer(1);
	static const char *const wrong[][2] = {
		{"Address = 10.8.0.5, fd00:8::6", "Address"},  {"Nonsense = 1", "unknown key"},
		{"PresharedKeyFile = missing", "missing"},     {"AllowedIPs = 10.8.3.0/24", "overlaps"},
		{"AllowedIPs = 10.0.0.0/33", "no IP network"}, {"Address = 10.8.255.255", "Address = 10.8.255.255"},
	};
	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
		follow(NULL, "", wrong[i][0]);
		refuses("reload", wrong[i][1]);
		refuses("reload", conf);
	}
	/* Both are the same host number, which only the pool knows. */
	follow(NULL, "Address = 10.8.0.7", "Address = fd00:8::7");
	refuses("reload", conf);
	unlink(private_key);
	follow(NULL, "", NULL);
	refuses("reload", "gw.key");
	cr_assert_eq(ended_count, 0);
	cr_assert_eq(peers_count(&registry.peers), 1);
	disconnect(session);
	stop();
}

static bool needs(const json_t *result, const char *names)
{
	char text[256] = "";
	size_t i;
	json_t *name;
	json_array_foreach (json_object_get(result, "needs_restart"), i, name)
		snprintf(text + strlen(text), sizeof text - strlen(text), "%s ", json_string_value(name));
	cr_expect_str_eq(text, names);
	return strcmp(text, names) == 0;
}

Test(gateway_control, options_that_need_a_restart_are_named)
{
	struct error error = {0};
	start("");
	write_config("MTU = 1400\nWorkers = 3\nCipher = AES-256-GCM\nListenAddress = 192.0.2.1\nInterface = other\n"
		     "LogLevel = error\nReset = no",
		     "");
	json_t *result = command("reload", &error);
	cr_assert(needs(result, "Interface ListenAddress MTU Workers Reset QuotaFile Cipher ControlSocket "));
	json_decref(result);
	write_key(private_key);
	write_config("", "");
	result = command("reload", &error);
	cr_assert(needs(result, "PrivateKeyFile "));
	json_decref(result);
	stop();
}

/* --- kick and peer ------------------------------------------------------------------------------------------------ */

Test(gateway_control, kick_takes_an_id_or_a_key)
{
	char one[256], key[KEY_TEXT_SIZE], line[128];
	struct error error = {0};
	start(peer_text(1, "", one));
	snprintf(line, sizeof line, "kick %s", key_text(1, key));
	refuses(line, "not connected");
	struct session *session = connect_peer(1);
	json_decref(command(line, &error));
	snprintf(line, sizeof line, "kick %08x", session->id);
	json_decref(command(line, &error));
	cr_assert(ended_count == 2 && ended[0] == session->id && ended[1] == session->id);
	cr_assert(reasons[0] == WIRE_BYE_REMOVED && reasons[1] == WIRE_BYE_REMOVED);
	snprintf(line, sizeof line, "kick %08x", session->id ^ 1u << 31);
	refuses(line, "no such session");
	snprintf(line, sizeof line, "kick %s", key_text(2, key));
	refuses(line, "no such peer");
	refuses("kick", "wants");
	refuses("kick 123", "neither");
	disconnect(session);
	stop();
}

Test(gateway_control, a_peer_of_the_file_s_form_added_at_run_time_is_unchanged_by_reload)
{
	struct error error = {0};
	char key[KEY_TEXT_SIZE], line[256];
	start("");
	snprintf(line, sizeof line,
		 "peer add %s --address fd00:8::9 --allowed-ips 192.0.2.77/24,fd77::/64,10.99.0.0/16 "
		 "--psk-file %s",
		 key_text(1, key), psk);
	json_t *result = command(line, &error);
	cr_assert_not_null(result, "%s", error.text);
	json_decref(result);
	refuses(line, "Address");
	follow("Address = 10.8.0.9\nAllowedIPs = fd77::/64, 10.99.0.0/16, 192.0.2.0/24\nPresharedKeyFile = psk", NULL,
	       NULL);
	reload(0, 0, 0, 1);
	snprintf(line, sizeof line, "peer del %s", key_text(1, key));
	json_decref(command(line, &error));
	refuses(line, "no such peer");
	reload(1, 0, 0, 0);
	follow(NULL, NULL, NULL);
	reload(0, 1, 0, 0);
	snprintf(line, sizeof line, "peer add %s --allowed-ips 10.8.0.0/24", key_text(1, key));
	refuses(line, "overlaps the pool");
	snprintf(line, sizeof line, "peer add %s --psk-file psk", key_text(1, key));
	refuses(line, "absolute");
	snprintf(line, sizeof line, "peer add %s --address 10.8.0.1", key_text(1, key));
	refuses(line, "10.8.0.1");
	refuses("peer add nonsense", "no public key");
	cr_assert_eq(peers_count(&registry.peers), 0);
	stop();
}

/* --- quotas ------------------------------------------------------------------------------------------------------- */

static struct quota quota;

static void start_quota(const char *peers)
{
	struct error error = {0};
	start(peers);
	const struct quota_params params = {
		.registry = &registry, .clock = &clock_system, .ender = &running.ender, .path = config->quota_file};
	running.quota = &quota;
	cr_assert_eq(quota_open(&quota, &params, &error), 0, "%s", error.text);
}

static void stop_quota(void)
{
	char path[128];
	quota_close(&quota);
	snprintf(path, sizeof path, "%s/own/quota", directory);
	unlink(path);
	*strrchr(path, '/') = '\0';
	rmdir(path);
	stop();
}

#define OWN_QUOTA_FILE "QuotaFile = own/quota\n"

/* Before a peer gets a quota that cannot be kept, the reload or the command is refused. */
Test(gateway_control, a_quota_needs_its_file)
{
	struct error error = {0};
	char one[256], key[KEY_TEXT_SIZE], line[256], own[64];
	standard_options = OWN_QUOTA_FILE;
	start_quota(peer_text(1, "", one));
	follow("Quota = 1G/day", NULL, NULL);
	refuses("reload", "QuotaFile = ");
	cr_expect_eq(registry.quotas, 0u);
	snprintf(line, sizeof line, "peer add %s --quota 1G/day", key_text(2, key));
	refuses(line, "QuotaFile = ");
	cr_expect_eq(peers_count(&registry.peers), 1u);

	snprintf(own, sizeof own, "%s/own", directory);
	cr_assert_eq(mkdir(own, 0700), 0);
	json_t *result = command(line, &error);
	cr_assert_not_null(result, "%s", error.text);
	json_decref(result);
	cr_expect_eq(registry.quotas, 1u);
	reload(0, 1, 0, 1);
	cr_expect_eq(registry.quotas, 1u);
	stop_quota();
}

static const json_t *shown(const json_t *page, const char *key)
{
	return json_object_get(json_array_get(json_object_get(page, "sessions"), 0), key);
}

Test(gateway_control, quotas_are_shown_and_reset)
{
	struct error error = {0};
	char one[256], key[KEY_TEXT_SIZE], line[256];
	standard_options = OWN_QUOTA_FILE "Quota = 1G/week\n";
	start_quota(peer_text(1, "Name = laptop\nQuotaRate = 1M", one));
	struct session *session = connect_peer(1);
	atomic_store(&peer_usage(session->peer)->used, 12345);
	json_t *page = command("sessions", &error);
	cr_expect_eq(json_integer_value(shown(page, "quota")), 1 << 30);
	cr_expect_eq(json_integer_value(shown(page, "quota_used")), 12345);
	cr_expect_eq(json_integer_value(shown(page, "quota_rate")), 1000000);
	cr_expect_str_eq(json_string_value(shown(page, "quota_period")), "week");
	json_decref(page);

	json_decref(command("quota reset laptop", &error));
	cr_expect_eq(atomic_load(&peer_usage(session->peer)->used), 0u);
	atomic_store(&peer_usage(session->peer)->used, 1);
	snprintf(line, sizeof line, "quota reset %s", key_text(1, key));
	json_decref(command(line, &error));
	cr_expect_eq(atomic_load(&peer_usage(session->peer)->used), 0u);
	snprintf(line, sizeof line, "quota reset %s", key_text(3, key));
	refuses(line, "no such peer");
	refuses("quota reset nobody", "neither the key nor the name");
	refuses("quota", "reset");
	refuses("quota set laptop", "reset");
	follow("Name = laptop", "Name = laptop", NULL);
	reload(1, 0, 0, 1);
	refuses("quota reset laptop", "2 peers have this name");
	follow("Name = laptop\nQuota = off", NULL, NULL);
	reload(0, 1, 0, 1);
	refuses("quota reset laptop", "has no quota");
	page = command("sessions", &error);
	cr_expect(json_is_null(shown(page, "quota")) && json_is_null(shown(page, "quota_used")));
	json_decref(page);
	disconnect(session);
	stop_quota();
}
