// SPDX-License-Identifier: Apache-2.0
/* Peers, from etcd to the gateway: first all of them, read in pages as of one revision, then each change. Both go into
 * a file, a line of JSON each, that the gateway is told to read: nothing is kept here. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/agent/agent_state.h"
#include "crypto/keys.h"

static void peers_path(const struct agent *agent, unsigned serial, char path[AGENT_PATH])
{
	(void)snprintf(path, AGENT_PATH, "%s/peers-%u", agent->settings->state, serial);
}

/* Base64, so it needs no escaping. */
static bool is_key(const char *key)
{
	uint8_t bytes[KEY_SIZE];
	return key_parse(key, bytes);
}

int agent_peers_delete(FILE *file, const char *key)
{
	if (!is_key(key))
		return -EPROTO;
	return fprintf(file, "{\"op\":\"delete\",\"key\":\"%s\"}\n", key) > 0 ? 0 : -EIO;
}

int agent_peers_write(FILE *file, const char *key, const char *value, size_t length)
{
	json_t *object = is_key(key) ? records_read(value, length) : NULL;
	if (object == NULL)
		return -EPROTO;
	(void)json_object_del(object, "version");
	bool bad = json_object_set_new(object, "op", json_string("put")) != 0 ||
		   json_object_set_new(object, "key", json_string(key)) != 0 ||
		   json_dumpf(object, file, JSON_COMPACT) != 0 || fputc('\n', file) == EOF;
	json_decref(object);
	return bad ? -EIO : 0;
}

/* A file for what comes next. The gateway's group may read it: there are sealed keys in it. */
static FILE *open_file(struct agent *agent)
{
	char path[AGENT_PATH];
	peers_path(agent, ++agent->peers.serial, path);
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0640);
	FILE *file = fd >= 0 && fchmod(fd, 0640) == 0 ? fdopen(fd, "w") : NULL;
	agent->peers.lines = 0;
	if (file == NULL) {
		log_error("%s: cannot be written (%s)", path, strerror(errno));
		if (fd >= 0)
			close(fd);
	}
	return file;
}

static void drop_file(struct agent *agent)
{
	char path[AGENT_PATH];
	if (agent->peers.file == NULL)
		return;
	peers_path(agent, agent->peers.serial, path);
	(void)fclose(agent->peers.file);
	(void)unlink(path);
	agent->peers.file = NULL;
}

static void begin_again(struct agent *agent, uint64_t wait)
{
	drop_file(agent);
	agent_watch_close(agent);
	agent->watch.seen = 0;
	agent->peers.phase = PEERS_WANTED;
	agent->peers.again = false;
	agent->peers.not_before = clock_monotonic(agent->clock) + wait;
}

void agent_peers_again(struct agent *agent)
{
	agent->peers.again = true;
}

/* --- to the gateway ----------------------------------------------------------------------------------------------- */

static void sent(void *context, enum ownership_answer answer, json_t *result, const char *text)
{
	struct agent *agent = context;
	struct agent_peers *peers = &agent->peers;
	json_t *refused = json_object_get(result, "refused");
	char path[AGENT_PATH];
	peers_path(agent, peers->sending, path);
	(void)unlink(path);
	if (answer != OWNERSHIP_ANSWERED) {
		if (agent->gateway_known)
			log_warning("peers: %s", text);
		begin_again(agent, NS_PER_S);
		return;
	}
	if (json_array_size(refused) != 0) {
		peers->refused_at = clock_monotonic(agent->clock);
		peers->refused_changes = peers->changes;
		char *list = json_dumps(refused, JSON_COMPACT);
		json_int_t count = json_integer_value(json_object_get(result, "refused_count"));
		log_warning("peers: the gateway has refused %" JSON_INTEGER_FORMAT ": %.400s", count,
			    list != NULL ? list : "");
		free(list);
	} else if (peers->phase == PEERS_SENDING) {
		peers->refused_at = 0;
	}
	if (peers->phase == PEERS_SENDING && peers->began != 0) {
		peers->last_load = clock_monotonic(agent->clock) - peers->began;
		peers->began = 0;
		peers->snapshots++;
		log_info("the gateway has %lld peers, after %llu ms",
			 (long long)json_integer_value(json_object_get(result, "peers")),
			 (unsigned long long)(peers->last_load / NS_PER_MS));
	}
	peers->phase = PEERS_FOLLOWING;
}

/* Hands over what is written so far, and begins the next file. */
static void send_file(struct agent *agent)
{
	char path[AGENT_PATH], line[CONTROL_REQUEST_MAX];
	peers_path(agent, agent->peers.serial, path);
	int bad = ferror(agent->peers.file);
	bad |= fclose(agent->peers.file);
	agent->peers.file = NULL;
	if (bad != 0) {
		log_error("%s: cannot be written (%s)", path, strerror(errno));
		(void)unlink(path);
		begin_again(agent, NS_PER_S);
		return;
	}
	(void)snprintf(line, sizeof line, "cluster-peers %s", path);
	agent->peers.sending = agent->peers.serial;
	gateway_link_send(agent->peers_link, line, AGENT_PEERS_MS, sent, agent);
	/* Changes are written to the next one while the gateway reads this one. */
	agent->peers.file = open_file(agent);
}

/* --- from etcd ---------------------------------------------------------------------------------------------------- */

static void read_page(struct agent *agent);

/* One of a page, behind which the next page begins. */
static int write_peer(struct agent_peers *peers, json_t *object, size_t skip)
{
	struct etcd_kv kv;
	int result = etcd_kv_read(object, &kv);
	if (result != 0)
		return result;
	result = kv.key_length > skip ? agent_peers_write(peers->file, kv.key + skip, kv.value, kv.value_length)
				      : -EPROTO;
	(void)snprintf(peers->after, sizeof peers->after, "%s", kv.key);
	etcd_kv_free(&kv);
	return result;
}

static void page_done(void *context, const struct etcd_answer *answer)
{
	struct agent *agent = context;
	struct agent_peers *peers = &agent->peers;
	size_t skip = strlen(agent->settings->prefix) + strlen(RECORDS_PEER), index;
	json_t *kvs = etcd_range_kvs(answer->body), *object;
	if (answer->code == -ECANCELED)
		return;
	if (answer->code != 0 || peers->file == NULL) {
		log_warning("peers cannot be read: %s", answer->text != NULL ? answer->text : "no file for them");
		begin_again(agent, NS_PER_S);
		return;
	}
	if (peers->revision == 0)
		peers->revision = answer->revision;
	json_array_foreach (kvs, index, object) {
		int result = write_peer(peers, object, skip);
		if (result == -EPROTO) {
			peers->skipped++;
		} else if (result == 0) {
			peers->lines++;
		} else {
			/* A snapshot without it would end its sessions. */
			log_warning("peers cannot be written to a file (no memory, or no space): they are read again");
			begin_again(agent, NS_PER_S);
			return;
		}
	}
	if (json_is_true(json_object_get(answer->body, "more")) && json_array_size(kvs) != 0) {
		read_page(agent);
		return;
	}
	if (peers->skipped != 0)
		log_warning("%u peers in etcd cannot be read (no JSON, or of a newer version), and are left out",
			    peers->skipped);
	agent->watch.seen = peers->revision;
	peers->phase = PEERS_SENDING;
	send_file(agent);
}

static void read_page(struct agent *agent)
{
	struct agent_peers *peers = &agent->peers;
	char key[ETCD_KEY_MAX];
	const struct etcd_range range = {.key = key,
					 .prefix = true,
					 .after = peers->after[0] != '\0' ? peers->after : NULL,
					 .limit = AGENT_PAGE,
					 .revision = peers->revision};
	if (!records_key(key, agent->settings->prefix, RECORDS_PEER, "") ||
	    etcd_range(agent->etcd, &range, AGENT_PAGE_MS, AGENT_PAGE_LIMIT_MS, page_done, agent) != 0)
		begin_again(agent, NS_PER_S);
}

static void begin_snapshot(struct agent *agent)
{
	struct agent_peers *peers = &agent->peers;
	drop_file(agent);
	peers->file = open_file(agent);
	if (peers->file == NULL || fputs("{\"op\":\"snapshot\"}\n", peers->file) == EOF) {
		begin_again(agent, NS_PER_S);
		return;
	}
	peers->phase = PEERS_READING;
	peers->began = clock_monotonic(agent->clock);
	peers->revision = 0;
	peers->skipped = 0;
	peers->after[0] = '\0';
	read_page(agent);
}

/* An index that two have is the first one's, in the order of keys; when that one is gone, the other one's. */
static void retry_refused(struct agent *agent)
{
	struct agent_peers *peers = &agent->peers;
	if (peers->refused_at != 0 && peers->changes != peers->refused_changes &&
	    clock_monotonic(agent->clock) >= peers->refused_at + AGENT_REFUSED) {
		peers->refused_at = 0;
		peers->again = true;
	}
}

void agent_peers_step(struct agent *agent)
{
	struct agent_peers *peers = &agent->peers;
	retry_refused(agent);
	if (peers->again && (peers->phase == PEERS_FOLLOWING || peers->phase == PEERS_WANTED) &&
	    !gateway_link_busy(agent->peers_link))
		begin_again(agent, 0);
	if (peers->phase == PEERS_WANTED && agent->gateway_known && clock_monotonic(agent->clock) >= peers->not_before)
		begin_snapshot(agent);
	else if (peers->phase == PEERS_FOLLOWING && peers->lines != 0 && !gateway_link_busy(agent->peers_link))
		send_file(agent);
}

void agent_peers_close(struct agent *agent)
{
	char path[AGENT_PATH];
	drop_file(agent);
	peers_path(agent, agent->peers.sending, path);
	if (agent->peers.sending != 0)
		(void)unlink(path);
}
