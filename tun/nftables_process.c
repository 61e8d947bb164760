// SPDX-License-Identifier: Apache-2.0
#include "tun/nftables_process.h"

#include <arpa/inet.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <nftables/libnftables.h>
#include <poll.h>
#include <stdalign.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/base/error.h"

enum {
	TABLES_MAX = 8,
	TRIES = 5, /* to lay a table while libnftables reopens the owner's socket */
	BATCH_MAX = 1024,
	ANSWER_MAX = 8192,
	ANSWER_MS = 5000,
	DESCRIPTORS = 64, /* libnftables' socket is searched among these: this process has few */
	COMMAND_MAX = 128,
	FLAG_OWNER = 0x2, /* of a table; headers before Linux 6.9 lack the second */
	FLAG_PERSIST = 0x4,
};

/* A table that was laid, and its listing at that time. */
struct laid {
	enum nftables_family family;
	char name[NFTABLES_NAME_MAX];
	char *listing;
};

/* libnftables reopens its socket when rules change while it reads them (in nft_cache_update()), and the ownership of
 * all tables goes with the old socket. So frequent reads use a context of their own. Both sockets keep their numbers
 * when reopened: every lower one is in use. */
struct process {
	int fd;
	struct nft_ctx *context, *reader;
	int netlink;	/* the socket of `context`: the owner of tables */
	ino_t identity; /* of that socket */
	uint32_t sequence;
	struct laid laid[TABLES_MAX];
};

bool nftables_send(int fd, const void *data, size_t size)
{
	for (const char *at = data; size > 0;) {
		ssize_t sent = send(fd, at, size, MSG_NOSIGNAL);
		if (sent < 0 && errno == EINTR)
			continue;
		if (sent <= 0)
			return false;
		at += sent;
		size -= (size_t)sent;
	}
	return true;
}

bool nftables_receive(int fd, void *data, size_t size)
{
	for (char *at = data; size > 0;) {
		ssize_t got = recv(fd, at, size, 0);
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return false;
		at += got;
		size -= (size_t)got;
	}
	return true;
}

/* --- tables by netlink -------------------------------------------------------------------------------------------- */

/* libnftables 1.0.6 does not know "persist", and only the socket that made a table with an owner may change it: so
 * tables are made by netlink messages of this file on libnftables' socket. */
struct batch {
	uint8_t family; /* of its tables */
	alignas(struct nlmsghdr) char bytes[BATCH_MAX];
	size_t used;
	uint32_t first;	       /* sequence number of its beginning */
	unsigned acknowledged; /* messages that ask for an acknowledgement */
};

static struct nlmsghdr *batch_add(struct process *process, struct batch *batch, uint16_t type, uint16_t flags)
{
	struct nlmsghdr *message = mnl_nlmsg_put_header(batch->bytes + batch->used);
	message->nlmsg_type = type;
	message->nlmsg_flags = NLM_F_REQUEST | flags;
	message->nlmsg_seq = ++process->sequence;
	bool edge = type == NFNL_MSG_BATCH_BEGIN || type == NFNL_MSG_BATCH_END;
	struct nfgenmsg *body = mnl_nlmsg_put_extra_header(message, sizeof *body);
	*body = (struct nfgenmsg){.nfgen_family = edge ? AF_UNSPEC : batch->family,
				  .version = NFNETLINK_V0,
				  .res_id = edge ? htons(NFNL_SUBSYS_NFTABLES) : 0};
	return message;
}

static void batch_table(struct process *process, struct batch *batch, uint8_t type, const char *name, uint32_t flags)
{
	uint16_t create = type == NFT_MSG_NEWTABLE ? NLM_F_CREATE : 0;
	struct nlmsghdr *message = batch_add(process, batch, (uint16_t)(NFNL_SUBSYS_NFTABLES << 8 | type),
					     NLM_F_ACK | create);
	mnl_attr_put_strz(message, NFTA_TABLE_NAME, name);
	if (type == NFT_MSG_NEWTABLE && flags != 0)
		mnl_attr_put_u32(message, NFTA_TABLE_FLAGS, htonl(flags));
	batch->used += message->nlmsg_len;
	batch->acknowledged++;
}

static void batch_edge(struct process *process, struct batch *batch, uint16_t type)
{
	batch->used += batch_add(process, batch, type, 0)->nlmsg_len;
}

/* The first error of the batch; 0: success. */
static int batch_answer(struct process *process, const struct batch *batch)
{
	alignas(struct nlmsghdr) char bytes[ANSWER_MAX];
	int result = 0;
	for (unsigned seen = 0; seen < batch->acknowledged;) {
		struct pollfd polled = {.fd = process->netlink, .events = POLLIN};
		ssize_t got = poll(&polled, 1, ANSWER_MS) > 0 ? recv(process->netlink, bytes, sizeof bytes, 0) : 0;
		if (got <= 0)
			return result != 0 ? result : -ETIMEDOUT;
		int left = (int)got;
		const struct nlmsghdr *message = (const struct nlmsghdr *)bytes;
		for (; mnl_nlmsg_ok(message, left); message = mnl_nlmsg_next(message, &left)) {
			if (message->nlmsg_type != NLMSG_ERROR)
				continue;
			int code = ((const struct nlmsgerr *)mnl_nlmsg_get_payload(message))->error;
			if (message->nlmsg_seq == batch->first)
				return code; /* the whole batch was refused: no rights, no nf_tables */
			result = result != 0 ? result : code;
			seen++;
		}
	}
	return result;
}

static int batch_run(struct process *process, struct batch *batch)
{
	static const struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
	batch_edge(process, batch, NFNL_MSG_BATCH_END);
	if (sendto(process->netlink, batch->bytes, batch->used, 0, (const struct sockaddr *)&kernel, sizeof kernel) < 0)
		return -errno;
	return batch_answer(process, batch);
}

static struct batch batch_begin(struct process *process, enum nftables_family family)
{
	struct batch batch = {.family = family == NFTABLES_NETDEV ? NFPROTO_NETDEV : NFPROTO_INET,
			      .first = process->sequence + 1};
	batch_edge(process, &batch, NFNL_MSG_BATCH_BEGIN);
	return batch;
}

static int make_table(struct process *process, const struct nftables_request *table, uint32_t flags)
{
	struct batch batch = batch_begin(process, table->family);
	batch_table(process, &batch, NFT_MSG_NEWTABLE, table->name, flags);
	return batch_run(process, &batch);
}

/* Replaces the table, if there is one, by one without rules. */
static int replace_table(struct process *process, const struct nftables_request *table, uint32_t flags)
{
	struct batch batch = batch_begin(process, table->family);
	batch_table(process, &batch, NFT_MSG_NEWTABLE, table->name, 0); /* deletion fails without a table */
	batch_table(process, &batch, NFT_MSG_DELTABLE, table->name, 0);
	batch_table(process, &batch, NFT_MSG_NEWTABLE, table->name, flags);
	return batch_run(process, &batch);
}

/* Whether the kernel accepts tables with these flags. */
static bool kernel_has(struct process *process, const struct nftables_request *table, uint32_t flags)
{
	char scratch[NFTABLES_NAME_MAX + 8];
	(void)snprintf(scratch, sizeof scratch, "%s-probe", table->name);
	struct batch batch = batch_begin(process, table->family);
	batch_table(process, &batch, NFT_MSG_NEWTABLE, scratch, flags);
	batch_table(process, &batch, NFT_MSG_DELTABLE, scratch, 0);
	return batch_run(process, &batch) == 0;
}

/* A table that outlived its process has no owner: the kernel then allows nothing but to take it over. */
static int remove_table(struct process *process, const struct nftables_request *table)
{
	static const uint32_t flags[] = {0, FLAG_OWNER | FLAG_PERSIST};
	int result = 0;
	for (size_t i = 0; i < ARRAY_SIZE(flags); i++) {
		struct batch batch = batch_begin(process, table->family);
		batch_table(process, &batch, NFT_MSG_NEWTABLE, table->name, flags[i]);
		batch_table(process, &batch, NFT_MSG_DELTABLE, table->name, 0);
		result = batch_run(process, &batch);
		if (result != -EPERM && result != -EOPNOTSUPP)
			break;
	}
	return result;
}

/* --- libnftables -------------------------------------------------------------------------------------------------- */

/* The first line of libnftables' message, without its "Error: ": the others mark the place in the commands. */
static const char *first_line(const char *message, char line[256])
{
	static const char label[] = "Error: ";
	const char *start = strstr(message, label);
	start = start != NULL ? start + strlen(label) : message;
	(void)snprintf(line, 256, "%.*s", (int)strcspn(start, "\n"), start);
	return line;
}

static int run_commands(struct nft_ctx *context, const char *commands, char line[256])
{
	line[0] = '\0';
	errno = 0;
	if (nft_run_cmd_from_buffer(context, commands) == 0)
		return 0;
	int code = errno != 0 ? -errno : -EINVAL;
	(void)first_line(nft_ctx_get_error_buffer(context), line);
	return code;
}

static ino_t identity_of(int fd)
{
	struct stat status;
	return fstat(fd, &status) == 0 ? status.st_ino : 0;
}

/* Whether libnftables reopened its socket since the last call: the new one owns nothing. */
static bool owner_changed(struct process *process)
{
	ino_t before = process->identity;
	process->identity = identity_of(process->netlink);
	return process->identity != before;
}

/* The table in nft's language, without counters; NULL: it does not exist. */
static char *list_table(struct process *process, const struct nftables_request *table)
{
	char command[COMMAND_MAX], line[256];
	const char *family = table->family == NFTABLES_NETDEV ? "netdev" : "inet";
	(void)snprintf(command, sizeof command, "list table %s %s\n", family, table->name);
	nft_ctx_output_set_flags(process->reader, NFT_CTX_OUTPUT_STATELESS);
	if (run_commands(process->reader, command, line) != 0)
		return NULL;
	return strdup(nft_ctx_get_output_buffer(process->reader));
}

static struct laid *find_laid(struct process *process, enum nftables_family family, const char *name)
{
	for (size_t i = 0; i < TABLES_MAX; i++) {
		if (process->laid[i].family == family && strcmp(process->laid[i].name, name) == 0)
			return &process->laid[i];
	}
	return NULL;
}

static int remember(struct process *process, const struct nftables_request *table)
{
	struct laid *laid = find_laid(process, table->family, table->name);
	if (laid == NULL && (laid = find_laid(process, NFTABLES_INET, "")) == NULL)
		return -ENOSPC;
	char *listing = list_table(process, table);
	if (listing == NULL)
		return -ENOENT;
	free(laid->listing);
	laid->listing = listing;
	laid->family = table->family;
	(void)snprintf(laid->name, sizeof laid->name, "%s", table->name);
	return 0;
}

static void forget(struct process *process, const struct nftables_request *table)
{
	struct laid *laid = find_laid(process, table->family, table->name);
	if (laid == NULL)
		return;
	free(laid->listing);
	*laid = (struct laid){0};
}

/* --- the requests ------------------------------------------------------------------------------------------------- */

/* An owner takes the table along, unless that may outlive it: where it cannot, it has none. */
static uint32_t flags_of(const struct nftables_request *request)
{
	if (request->outlives)
		return FLAG_OWNER | FLAG_PERSIST;
	return request->may_outlive ? 0 : FLAG_OWNER;
}

/* Makes or takes over the table, with an owner where the kernel has that. `*fresh`: it has no rules yet. */
static int claim(struct process *process, const struct nftables_request *request, bool *fresh)
{
	uint32_t flags = flags_of(request);
	char *before = list_table(process, request);
	*fresh = before == NULL;
	free(before);
	int result = make_table(process, request, flags);
	if (result != -EOPNOTSUPP && result != -EINVAL)
		return result;
	if (!kernel_has(process, request, flags))
		return make_table(process, request, 0);
	/* The table is of a run without owners, and this kernel cannot give an existing one an owner. */
	*fresh = true;
	return replace_table(process, request, flags);
}

static int lay_once(struct process *process, const struct nftables_request *request, const char *commands,
		    char line[256])
{
	bool fresh;
	int result = claim(process, request, &fresh);
	if (result != 0)
		return result;
	result = run_commands(process->context, commands, line);
	if (result != 0 && !fresh && !owner_changed(process)) {
		/* Chains of another version may conflict. */
		fresh = true;
		if (replace_table(process, request, flags_of(request)) == 0 || replace_table(process, request, 0) == 0)
			result = run_commands(process->context, commands, line);
	}
	if (result == 0)
		result = remember(process, request);
	else if (fresh)
		(void)remove_table(process, request);
	return result;
}

static int lay(struct process *process, const struct nftables_request *request, const char *commands, char line[256])
{
	struct nftables_request actual = *request;
	if (actual.may_outlive)
		actual.outlives = kernel_has(process, &actual, FLAG_OWNER | FLAG_PERSIST);
	int result = 0;
	for (unsigned i = 0; i < TRIES; i++) {
		(void)owner_changed(process);
		result = lay_once(process, &actual, commands, line);
		if (!owner_changed(process))
			break;
	}
	return result;
}

static int check(struct process *process, const struct nftables_request *table)
{
	const struct laid *laid = find_laid(process, table->family, table->name);
	if (laid == NULL || laid->listing == NULL)
		return 0;
	char *now = list_table(process, table);
	bool same = now != NULL && strcmp(now, laid->listing) == 0;
	free(now);
	return same;
}

static int query(struct process *process, const char *commands, char line[256], const char **text)
{
	nft_ctx_output_set_flags(process->reader, NFT_CTX_OUTPUT_JSON);
	int result = run_commands(process->reader, commands, line);
	if (result == 0)
		*text = nft_ctx_get_output_buffer(process->reader);
	return result;
}

static bool serve(struct process *process, const struct nftables_request *request, const char *payload)
{
	char line[256] = "";
	const char *text = line;
	struct nftables_answer answer = {0};
	switch (request->operation) {
	case NFTABLES_LAY:
		answer.code = lay(process, request, payload, line);
		break;
	case NFTABLES_CHECK:
		answer.code = check(process, request);
		break;
	case NFTABLES_REMOVE:
		answer.code = remove_table(process, request);
		forget(process, request);
		break;
	case NFTABLES_QUERY:
		answer.code = query(process, payload, line, &text);
		break;
	}
	if (answer.code < 0 && line[0] == '\0')
		(void)snprintf(line, sizeof line, "%s", strerror(-answer.code));
	answer.length = (uint32_t)strlen(text);
	return nftables_send(process->fd, &answer, sizeof answer) && nftables_send(process->fd, text, answer.length);
}

/* --- the process -------------------------------------------------------------------------------------------------- */

static int find_netlink(void)
{
	for (int fd = 0; fd < DESCRIPTORS; fd++) {
		int domain = 0, protocol = 0;
		socklen_t size = sizeof domain;
		if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &size) == 0 && domain == AF_NETLINK &&
		    getsockopt(fd, SOL_SOCKET, SO_PROTOCOL, &protocol, &size) == 0 && protocol == NETLINK_NETFILTER)
			return fd;
	}
	return -ENOENT;
}

/* libnftables calls exit() without a message when it gets no socket of this kind. */
static int probe(void)
{
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER);
	if (fd < 0)
		return -errno;
	close(fd);
	return 0;
}

static struct nft_ctx *open_context(void)
{
	struct nft_ctx *context = nft_ctx_new(NFT_CTX_DEFAULT);
	if (context != NULL && nft_ctx_buffer_error(context) == 0 && nft_ctx_buffer_output(context) == 0)
		return context;
	return NULL;
}

static int open_process(struct process *process)
{
	int result = probe();
	if (result != 0)
		return result;
	process->context = open_context();
	process->netlink = find_netlink();
	process->identity = identity_of(process->netlink);
	process->reader = open_context();
	if (process->context == NULL || process->reader == NULL)
		return -ENOMEM;
	return process->netlink < 0 ? process->netlink : 0;
}

int nftables_process_remove(enum nftables_family family, const char *name)
{
	struct nftables_request table = {.family = family};
	(void)snprintf(table.name, sizeof table.name, "%s", name);
	struct process process = {.netlink = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER)};
	if (process.netlink < 0)
		return -errno;
	int result = remove_table(&process, &table);
	close(process.netlink);
	return result;
}

void nftables_process_run(int fd)
{
	struct process process = {.fd = fd};
	struct nftables_request request;
	int opened = open_process(&process);
	while (nftables_receive(fd, &request, sizeof request)) {
		char *payload = malloc((size_t)request.length + 1);
		if (payload == NULL || !nftables_receive(fd, payload, request.length))
			break;
		payload[request.length] = '\0';
		if (opened != 0) {
			const char *why = strerror(-opened);
			struct nftables_answer answer = {.code = opened, .length = (uint32_t)strlen(why)};
			if (!nftables_send(fd, &answer, sizeof answer) || !nftables_send(fd, why, answer.length))
				break;
		} else if (!serve(&process, &request, payload)) {
			break;
		}
		free(payload);
	}
	_exit(0);
}
