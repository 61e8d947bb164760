// SPDX-License-Identifier: Apache-2.0
/* The socket of promises (promise.h), the addresses of the other agents, the secret in etcd, and what is said in the
 * log while blocks are served without etcd. */
#include <arpa/inet.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/agent/agent_state.h"
#include "core/base/ip.h"

enum { BATCH = 64, /* datagrams in one turn of the loop */ WHY_MAX = 256 };
#define LAST_MOMENT (NS_PER_S / 2) /* before a deadline: it will hardly be put off any more */

/* Where a taker's agent is, as its key said last: it is needed when that key is gone. */
struct place {
	char name[OWNERSHIP_NAME], text[OWNERSHIP_ADDRESS];
	struct sockaddr_storage address;
	socklen_t length; /* 0: unknown */
};

struct agent_promises {
	struct promise_exchange exchange;
	int fd;
	struct place places[OWNERSHIP_NODES_MAX];
	size_t place_count;
	uint64_t takers_revision, secret_revision; /* as the exchange has them */
	bool creating;				   /* the secret is being written */
	uint64_t create_at;
	bool serving_said, ending_said, waiting_said, secret_said;
	uint64_t silent_since; /* the last answered read was sent then; 0: reads are answered */
};

/* --- the socket --------------------------------------------------------------------------------------------------- */

static int to_address(const char *text, struct sockaddr_storage *address, socklen_t *length)
{
	struct ip_address parsed;
	uint16_t port;
	if (!ip_address_port_parse(text, &parsed, &port) || port == 0)
		return -EINVAL;
	struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons(port)};
	struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
	memcpy(&v4.sin_addr, parsed.bytes, sizeof v4.sin_addr);
	memcpy(&v6.sin6_addr, parsed.bytes, sizeof v6.sin6_addr);
	*length = parsed.family == 4 ? sizeof v4 : sizeof v6;
	memcpy(address, parsed.family == 4 ? (const void *)&v4 : &v6, *length);
	return 0;
}

/* The address may come up after the agent. */
static int open_socket(const struct sockaddr_storage *address, socklen_t length)
{
	int on = 1, fd = socket(address->ss_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	if (address->ss_family == AF_INET6)
		(void)setsockopt(fd, IPPROTO_IPV6, IPV6_FREEBIND, &on, sizeof on);
	else
		(void)setsockopt(fd, IPPROTO_IP, IP_FREEBIND, &on, sizeof on);
	if (bind(fd, (const struct sockaddr *)address, length) == 0)
		return fd;
	int failure = -errno;
	close(fd);
	return failure;
}

int agent_promises_open(struct agent *agent, struct error *error)
{
	const char *text = agent->settings->agreement;
	struct sockaddr_storage address;
	socklen_t length;
	agent->promises = calloc(1, sizeof *agent->promises);
	if (agent->promises == NULL)
		return error_set(error, -ENOMEM, "no memory");
	promise_exchange_init(&agent->promises->exchange, agent->settings->node);
	int result = to_address(text, &address, &length);
	agent->promises->fd = result == 0 ? open_socket(&address, length) : result;
	if (agent->promises->fd < 0)
		return error_set(error, agent->promises->fd, "Agreement = %s: %s", text,
				 strerror(-agent->promises->fd));
	return 0;
}

void agent_promises_close(struct agent *agent)
{
	struct agent_promises *promises = agent->promises;
	if (promises == NULL)
		return;
	if (promises->fd >= 0)
		close(promises->fd);
	explicit_bzero(promises, sizeof *promises);
	free(promises);
	agent->promises = NULL;
}

int agent_promises_fd(const struct agent *agent)
{
	return agent->promises->fd;
}

/* What is not sent is sent again, as if it were lost. */
static void send_to(const struct agent_promises *promises, const uint8_t datagram[PROMISE_SIZE],
		    const struct sockaddr_storage *address, socklen_t length)
{
	(void)sendto(promises->fd, datagram, PROMISE_SIZE, 0, (const struct sockaddr *)address, length);
}

void agent_promises_run(struct agent *agent)
{
	struct agent_promises *promises = agent->promises;
	for (unsigned i = 0; i < BATCH; i++) {
		uint8_t datagram[PROMISE_SIZE + 1], answer[PROMISE_SIZE];
		struct sockaddr_storage source;
		socklen_t length = sizeof source;
		ssize_t size = recvfrom(promises->fd, datagram, sizeof datagram, 0, (struct sockaddr *)&source,
					&length);
		if (size < 0 && (errno == ECONNREFUSED || errno == EINTR))
			continue;
		if (size < 0)
			break;
		if (promise_exchange_receive(&promises->exchange, &agent->rule, datagram, (size_t)size,
					     clock_monotonic(agent->clock), answer))
			send_to(promises, answer, &source, length);
	}
}

/* --- what etcd has ------------------------------------------------------------------------------------------------ */

static struct place *place_of(struct agent_promises *promises, const char *name)
{
	for (size_t i = 0; i < promises->place_count; i++) {
		if (strcmp(promises->places[i].name, name) == 0)
			return &promises->places[i];
	}
	return NULL;
}

static void learn_place(struct agent_promises *promises, const struct ownership_node_key *node)
{
	struct place *place = place_of(promises, node->name);
	if (place == NULL && promises->place_count < OWNERSHIP_NODES_MAX) {
		place = &promises->places[promises->place_count++];
		*place = (struct place){0};
		memcpy(place->name, node->name, sizeof place->name);
	}
	if (place == NULL || strcmp(place->text, node->agent) == 0)
		return;
	memcpy(place->text, node->agent, sizeof place->text);
	if (to_address(place->text, &place->address, &place->length) != 0)
		place->length = 0;
}

/* Nodes that are no takers any more make room. */
static void forget_places(struct agent_promises *promises, const struct ownership *rule)
{
	size_t kept = 0;
	for (size_t i = 0; i < promises->place_count; i++) {
		const struct place *place = &promises->places[i];
		bool taker = false;
		for (size_t j = 0; j < rule->takers.count; j++)
			taker = taker || strcmp(rule->takers.names[j], place->name) == 0;
		if (taker)
			promises->places[kept++] = *place;
	}
	promises->place_count = kept;
}

static void created(void *context, const struct etcd_answer *answer)
{
	struct agent *agent = context;
	if (answer->code == -ECANCELED)
		return;
	agent->promises->creating = false;
	agent->promises->create_at = clock_monotonic(agent->clock) + NS_PER_S;
	if (answer->code == 0 && etcd_txn_succeeded(answer->body))
		log_info("%s" RECORDS_SECRET " in etcd: written", agent->settings->prefix);
	ownership_changed(&agent->rule, 0, clock_monotonic(agent->clock));
}

/* The first agent does; of several at once only one succeeds. */
static void create_secret(struct agent *agent)
{
	struct agent_promises *promises = agent->promises;
	uint8_t secret[OWNERSHIP_SECRET];
	char key[ETCD_KEY_MAX];
	struct etcd_txn txn;
	randombytes_buf(secret, sizeof secret);
	char *value = records_secret(secret);
	explicit_bzero(secret, sizeof secret);
	etcd_txn_begin(&txn);
	if (value == NULL || !records_key(key, agent->settings->prefix, RECORDS_SECRET, "")) {
		txn.failed = -ENOMEM;
	} else {
		etcd_txn_absent(&txn, key);
		etcd_txn_put(&txn, key, value, 0);
	}
	if (value != NULL)
		explicit_bzero(value, strlen(value));
	free(value);
	promises->creating = etcd_txn(agent->etcd, &txn, false, AGENT_WRITE_MS, created, agent) == 0;
	promises->create_at = clock_monotonic(agent->clock) + NS_PER_S;
}

static void see_secret(struct agent *agent)
{
	struct agent_promises *promises = agent->promises;
	const struct ownership_view *view = &agent->view;
	if (view->secret_revision == 0 && !promises->creating && agent->rule.is_member &&
	    clock_monotonic(agent->clock) >= promises->create_at)
		create_secret(agent);
	if (view->secret_revision != promises->secret_revision)
		promise_exchange_set_secret(&promises->exchange, view->secret_readable ? view->secret : NULL);
	promises->secret_revision = view->secret_revision;
	bool wrong = view->secret_revision != 0 && !view->secret_readable;
	if (wrong && !promises->secret_said)
		log_warning("%s" RECORDS_SECRET
			    " in etcd cannot be read: no promises, so blocks are not served without "
			    "etcd; delete it, and an agent writes another one",
			    agent->settings->prefix);
	promises->secret_said = wrong;
}

/* A member that is no taker waits for one of these. */
static void see_takers(struct agent *agent)
{
	struct agent_promises *promises = agent->promises;
	const struct ownership_view *view = &agent->view;
	bool member = false;
	for (size_t i = 0; i < view->member_count; i++)
		member = member || strcmp(view->members[i], agent->settings->node) == 0;
	bool waiting = member && !agent->rule.is_member && view->takers_revision != 0;
	if (waiting && !promises->waiting_said)
		log_info("this machine is not in %s" RECORDS_TAKERS
			 " in etcd yet: the agent of one that is writes it there; if all of them are gone for good, "
			 "delete that key",
			 agent->settings->prefix);
	promises->waiting_said = waiting;
	for (size_t i = 0; i < view->node_count; i++)
		learn_place(promises, &view->nodes[i]);
	if (promises->takers_revision == agent->rule.takers_revision)
		return;
	promises->takers_revision = agent->rule.takers_revision;
	promise_exchange_set_takers(&promises->exchange, &agent->rule);
	forget_places(promises, &agent->rule);
}

void agent_promises_see(struct agent *agent)
{
	see_takers(agent);
	see_secret(agent);
}

/* --- asking ------------------------------------------------------------------------------------------------------- */

void agent_promises_ask(struct agent *agent, const struct ownership_action *action)
{
	promise_exchange_begin(&agent->promises->exchange, action, clock_monotonic(agent->clock));
}

uint64_t agent_promises_deadline(const struct agent *agent)
{
	return promise_exchange_deadline(&agent->promises->exchange, clock_monotonic(agent->clock));
}

/* --- the log ------------------------------------------------------------------------------------------------------ */

/* Which takers do not promise. */
static const char *describe_others(const struct agent_promises *promises, char text[WHY_MAX])
{
	static const char *const verdicts[OWNERSHIP_VERDICTS] = {
		[OWNERSHIP_NOT_READY] = "has started just now",
		[OWNERSHIP_NO_TAKER] = "is no taker, or takes this node for none",
		[OWNERSHIP_OTHER_TAKERS] = "knows of other takers",
		[OWNERSHIP_TAKERS_REPLACED] = "replaces the takers",
		[OWNERSHIP_BLOCK_IN_USE] = "takes or serves one of the blocks",
	};
	const struct promise_exchange *exchange = &promises->exchange;
	size_t used = 0;
	text[0] = '\0';
	for (size_t i = 0; i < exchange->count && used < WHY_MAX; i++) {
		const struct promise_peer *peer = &exchange->peers[i];
		if (peer->answered && peer->verdict == OWNERSHIP_PROMISED)
			continue;
		used += (size_t)snprintf(text + used, WHY_MAX - used, "%s%s %s", used != 0 ? "; " : "", peer->name,
					 peer->answered ? verdicts[peer->verdict] : "does not answer");
	}
	return text;
}

static uint64_t last_deadline(const struct ownership *rule, uint64_t now)
{
	uint64_t last = 0;
	for (unsigned block = 1; block <= rule->block_count; block++) {
		if (ownership_serves(rule, block, now) && rule->blocks[block].until > last)
			last = rule->blocks[block].until;
	}
	return last;
}

static double seconds(uint64_t ns)
{
	return (double)ns / (double)NS_PER_S;
}

static void log_silence(struct agent *agent, uint64_t now)
{
	struct agent_promises *promises = agent->promises;
	const struct ownership_question *question = &agent->rule.question;
	uint64_t last = last_deadline(&agent->rule, now);
	char why[WHY_MAX];
	promises->silent_since = agent->rule.read_sent;
	bool current = question->number != 0 && question->sent > agent->rule.read_sent;
	if (current && question->agreed) {
		/* Not before that: an etcd that is slow for a moment is not worth a line. */
		if (now < agent->rule.until)
			return;
		if (!promises->serving_said || promises->ending_said)
			log_warning(
				"etcd does not answer since %.1f s; %u of %u other members agree: blocks are served "
				"on by their promises",
				seconds(now - agent->rule.read_sent), question->promises, question->others);
		promises->serving_said = true;
		promises->ending_said = false;
	} else if (current && last != 0 && last < now + LAST_MOMENT && !promises->ending_said) {
		log_warning(
			"etcd does not answer since %.1f s; %u of %u other members agree (%s): blocks are served for "
			"%.1f s more",
			seconds(now - agent->rule.read_sent), question->promises, question->others,
			describe_others(promises, why), seconds(last - now));
		promises->ending_said = true;
	}
}

static void log_state(struct agent *agent, uint64_t now)
{
	struct agent_promises *promises = agent->promises;
	const struct ownership *rule = &agent->rule;
	if (!rule->seen_any)
		return;
	if (now >= rule->read_sent + OWNERSHIP_SILENT) {
		log_silence(agent, now);
		return;
	}
	if (promises->serving_said || promises->ending_said)
		log_info("etcd answers again, after %.1f s; blocks are served by reads",
			 seconds(rule->read_sent - promises->silent_since));
	promises->serving_said = promises->ending_said = false;
	promises->silent_since = 0;
}

void agent_promises_step(struct agent *agent)
{
	struct agent_promises *promises = agent->promises;
	uint64_t now = clock_monotonic(agent->clock);
	uint8_t datagram[PROMISE_SIZE];
	for (const char *name; (name = promise_exchange_next(&promises->exchange, now, datagram)) != NULL;) {
		const struct place *place = place_of(promises, name);
		if (place != NULL && place->length != 0)
			send_to(promises, datagram, &place->address, place->length);
	}
	log_state(agent, now);
}

void agent_promises_count(const struct agent *agent, uint64_t now, struct agent_figures *figures)
{
	const struct ownership *rule = &agent->rule;
	figures->questions = rule->figures.questions;
	figures->agreements = rule->figures.agreements;
	memcpy(figures->verdicts, rule->figures.verdicts, sizeof figures->verdicts);
	memcpy(figures->drops, agent->promises->exchange.drops, sizeof figures->drops);
	for (unsigned block = 1; block <= rule->block_count; block++)
		figures->by_promises += ownership_serves(rule, block, now) && now >= rule->until;
}
