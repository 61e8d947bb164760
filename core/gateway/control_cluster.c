// SPDX-License-Identifier: Apache-2.0
#include "core/gateway/control_cluster.h"

#include <stdlib.h>
#include <string.h>

#include "core/control/words.h"
#include "core/daemon/daemon.h"
#include "core/daemon/reconcile.h"
#include "core/gateway/cluster.h"
#include "core/gateway/cluster_link.h"
#include "core/gateway/cluster_network.h"
#include "core/gateway/cluster_peers.h"
#include "core/gateway/control_peer.h"
#include "core/gateway/network.h"
#include "core/gateway/reloader.h"

/* NULL with `error` set: the gateway is alone, or these are not as many words as there should be. */
static struct cluster *cluster_for(const struct daemon *daemon, size_t count, size_t expected, const char *usage,
				   struct error *error)
{
	const struct gateway_running *running = daemon->params.context;
	if (running->cluster == NULL) {
		error_set(error, -ENOTSUP, "this gateway is in no cluster; give it ClusterNode, and start it again");
		return NULL;
	}
	if (count != expected) {
		error_set(error, -EINVAL, "%s", usage);
		return NULL;
	}
	return running->cluster;
}

static bool parse_ns(const char *text, uint64_t *ns)
{
	char *end;
	size_t digits = strspn(text, "0123456789");
	errno = 0;
	*ns = strtoull(text, &end, 10);
	return digits != 0 && text[digits] == '\0' && errno == 0;
}

static int parse_blocks(const char *text, struct block_set *blocks, struct error *error)
{
	return block_set_parse(text, blocks)
		       ? 0
		       : error_set(error, -EINVAL,
				   "%.64s: no list of blocks; numbers from 1 to 255 with commas between them, each "
				   "once, or -",
				   text);
}

/* What came by the link, by what became of it. */
static json_t *describe_link(const struct cluster_link *link)
{
	return json_pack("{s:I, s:I, s:I, s:I, s:I}", "taken", (json_int_t)cluster_link_count(link, FORWARD_TAKEN),
			 "malformed", (json_int_t)cluster_link_count(link, FORWARD_MALFORMED), "forged",
			 (json_int_t)cluster_link_count(link, FORWARD_FORGED), "late",
			 (json_int_t)cluster_link_count(link, FORWARD_LATE), "repeated",
			 (json_int_t)cluster_link_count(link, FORWARD_REPEATED));
}

json_t *gateway_control_cluster(void *context, char *const *words, size_t count, struct error *error)
{
	(void)words;
	const struct daemon *daemon = context;
	const struct gateway_running *running = daemon->params.context;
	const struct cluster *cluster = cluster_for(daemon, count, 0, "cluster takes no words", error);
	if (cluster == NULL)
		return NULL;
	json_t *answer = cluster_describe(cluster);
	if (answer != NULL && running->link != NULL && running->link->forwarder.fd >= 0)
		(void)json_object_set_new(answer, "forwards", describe_link(running->link));
	if (answer != NULL && running->map != NULL)
		(void)json_object_set_new(answer, "owners", cluster_network_describe(running->map));
	return words_no_memory_unless(answer, error);
}

json_t *gateway_control_cluster_own(void *context, char *const *words, size_t count, struct error *error)
{
	struct block_set blocks;
	uint64_t until;
	struct cluster *cluster = cluster_for(context, count, 2,
					      "cluster-own wants a time of CLOCK_BOOTTIME in ns, and blocks", error);
	if (cluster == NULL)
		return NULL;
	if (!parse_ns(words[0], &until)) {
		error_set(error, -EINVAL, "%.64s: no time in ns", words[0]);
		return NULL;
	}
	if (parse_blocks(words[1], &blocks, error) != 0 || cluster_own(cluster, &blocks, until, error) != 0)
		return NULL;
	const struct gateway_running *running = ((const struct daemon *)context)->params.context;
	return words_no_memory_unless(json_pack("{s:o, s:I, s:o}", "blocks", cluster_blocks(cluster), "instance",
						(json_int_t)cluster->instance, "pool",
						gateway_describe_pool(&running->registry->pool)),
				      error);
}

json_t *gateway_control_cluster_release(void *context, char *const *words, size_t count, struct error *error)
{
	struct daemon *daemon = context;
	struct block_set blocks;
	unsigned block = 1;
	struct cluster *cluster = cluster_for(context, count, 1, "cluster-release wants a block", error);
	if (cluster == NULL || parse_blocks(words[0], &blocks, error) != 0)
		return NULL;
	while (block < BLOCK_COUNT && !block_set_has(&blocks, block))
		block++;
	if (block == BLOCK_COUNT || strchr(words[0], ',') != NULL) {
		error_set(error, -EINVAL, "%.64s: one block is released at a time", words[0]);
		return NULL;
	}
	if (!cluster_may_release(cluster)) {
		error_set(error, -EBUSY, "too many blocks are being released; once more in a moment");
		return NULL;
	}
	cluster_release(cluster, block, control_defer(daemon->control));
	return NULL;
}

/* A request for peers, on its way through the thread that reads them. */
struct peers_job {
	struct daemon *daemon;
	struct control_ticket ticket;
	struct cluster_peers *peers;
};

static void read_peers(void *context)
{
	const struct peers_job *job = context;
	cluster_peers_read(job->peers);
}

static bool apply_peers(void *context)
{
	const struct peers_job *job = context;
	const struct gateway_running *running = job->daemon->params.context;
	struct error error = {0};
	json_t *answer;
	if (!cluster_peers_apply(job->peers, &answer, &error))
		return false;
	running->cluster->has_peers |= answer != NULL;
	if (running->network != NULL && cluster_peers_change_networks(job->peers))
		gateway_network_follow(running->network, running->registry);
	control_answer(job->daemon->control, job->ticket, answer, &error);
	return true;
}

static void free_peers(void *context)
{
	struct peers_job *job = context;
	cluster_peers_free(job->peers);
	free(job);
}

static int begin_peers(struct daemon *daemon, const char *path, struct error *error)
{
	struct gateway_running *running = daemon->params.context;
	struct peers_job *job = malloc(sizeof *job);
	if (job == NULL)
		return error_set(error, -ENOMEM, "out of memory");
	*job = (struct peers_job){.daemon = daemon, .peers = cluster_peers_new(running, path, error)};
	if (job->peers == NULL) {
		free(job);
		return -ENOMEM;
	}
	const struct reloader_job wanted = {
		.read = read_peers, .apply = apply_peers, .free = free_peers, .context = job};
	job->ticket = control_defer(daemon->control);
	reloader_begin(running->reloader, &wanted);
	return 0;
}

json_t *gateway_control_cluster_peers(void *context, char *const *words, size_t count, struct error *error)
{
	struct daemon *daemon = context;
	const struct gateway_running *running = daemon->params.context;
	if (cluster_for(daemon, count, 1, "cluster-peers wants a file", error) == NULL)
		return NULL;
	/* After what is read now: else the agent would have to begin with all peers. */
	if (!reloader_takes_job(running->reloader))
		error_set(error, -EBUSY, "other peers are being read; once more in a moment");
	else
		(void)begin_peers(daemon, words[0], error);
	return NULL;
}

static int forward_by_map(const struct gateway_running *running, struct error *error)
{
	struct sockaddr_in6 owners[BLOCK_COUNT];
	if (running->link == NULL || running->link->forwarder.fd < 0)
		return 0;
	const struct config_endpoint *own = running->link->params.address;
	cluster_network_owners(running->map, strchr(own->host, ':') != NULL ? 6 : 4, own->port, owners);
	return forwarder_set_owners(&running->link->forwarder, owners) == 0
		       ? 0
		       : error_set(error, -ENOMEM, "map: out of memory");
}

/* `result`: of the function that took the map, or a part; positive: more has to come. */
static json_t *map_answer(const struct daemon *daemon, int result, struct error *error)
{
	const struct gateway_running *running = daemon->params.context;
	const struct cluster_map *told = &running->map->told;
	if (result == 0)
		result = forward_by_map(running, error);
	/* Not now: libnftables' process, or the kernel, may take longer than blocks have until their deadlines. */
	if (result == 0 && daemon->reconciler != NULL)
		reconciler_notice(daemon->reconciler, RECONCILE_BIT(RECONCILE_nftables));
	if (result < 0)
		return NULL;
	return words_no_memory_unless(
		json_pack("{s:I, s:I, s:I}", "ipv4", (json_int_t)cluster_map_count(told, 4), "ipv6",
			  (json_int_t)cluster_map_count(told, 6), "left_out",
			  (json_int_t)atomic_load_explicit(&running->map->left_out, memory_order_relaxed)),
		error);
}

json_t *gateway_control_cluster_map(void *context, char *const *words, size_t count, struct error *error)
{
	const struct daemon *daemon = context;
	struct gateway_running *running = daemon->params.context;
	if (cluster_for(daemon, count, 1, "cluster-map wants BLOCK=ADDRESS[:PORT],... or -", error) == NULL)
		return NULL;
	return map_answer(daemon, cluster_network_map(running->map, words[0], error), error);
}

json_t *gateway_control_cluster_map_part(void *context, char *const *words, size_t count, struct error *error)
{
	static const char usage[] = "cluster-map-part wants SERIAL NUMBER/COUNT TEXT";
	const struct daemon *daemon = context;
	struct gateway_running *running = daemon->params.context;
	uint32_t serial, number, parts;
	char *slash;
	if (cluster_for(daemon, count, 3, usage, error) == NULL)
		return NULL;
	if ((slash = strchr(words[1], '/')) == NULL) {
		error_set(error, -EINVAL, "%s", usage);
		return NULL;
	}
	*slash = '\0';
	if (words_number("SERIAL", words[0], &serial, error) != 0 ||
	    words_number("NUMBER", words[1], &number, error) != 0 ||
	    words_number("COUNT", slash + 1, &parts, error) != 0)
		return NULL;
	return map_answer(daemon, cluster_network_part(running->map, serial, number, parts, words[2], error), error);
}

void gateway_control_cluster_released(struct control *control, struct control_ticket ticket, unsigned block)
{
	struct error error = {0};
	json_t *answer = words_no_memory_unless(json_pack("{s:i}", "released", (int)block), &error);
	control_answer(control, ticket, answer, &error);
}
